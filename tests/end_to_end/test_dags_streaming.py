"""antenna_streaming under the real scheduler: a driver that dies, freezes or must end is replaced."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from include.local_stack import processes
from include.local_stack.settings import PROJECT_ROOT
from include.simulator.ledger import Ledger, compare_with_database, read_users

from .conftest import RunningStack
from .drills import Driver, send_minute, wait_until, wait_until_consumed

DAG_ID = "antenna_streaming"
# Airflow notices within its heartbeat of 5 s, and kills 5 s after it asked.
GONE_SECONDS = 20
REPLACED_SECONDS = 45
HANG_SECONDS = 75
# A day of its own, so that no other traffic falls into it.
HOUR = datetime(2021, 3, 6, 10, tzinfo=UTC)
USERS = read_users(PROJECT_ROOT / "include" / "provisioner" / "user_metadata.csv")


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    with Ledger(tmp_path_factory.mktemp("ledger") / "ledger", create=True) as ledger:
        yield ledger


def newest_run(stack: RunningStack) -> str:
    return str(stack.airflow.runs(DAG_ID, limit=1)[0]["dag_run_id"])


def kill(driver: Driver, stack: RunningStack) -> None:
    os.kill(driver.pid, signal.SIGKILL)


def kill_task_process(driver: Driver, stack: RunningStack) -> None:
    os.kill(driver.jvm.ppid(), signal.SIGKILL)


def freeze_everything(driver: Driver, stack: RunningStack) -> None:
    for process in driver.processes:
        process.suspend()


def mark_failed(driver: Driver, stack: RunningStack) -> None:
    path = f"/api/v2/dags/{DAG_ID}/dagRuns/{newest_run(stack)}/taskInstances/run_stream"
    stack.airflow.request("PATCH", path, json={"new_state": "failed"})


def clear(driver: Driver, stack: RunningStack) -> None:
    body = {
        "dry_run": False,
        "dag_run_id": newest_run(stack),
        "task_ids": ["run_stream"],
        "only_failed": False,
    }
    stack.airflow.request("POST", f"/api/v2/dags/{DAG_ID}/clearTaskInstances", json=body)


def stream_differences(stack: RunningStack, ledger: Ledger) -> list[str]:
    """What differs between the ledger and the speed layer, once the stream has read everything."""
    wait_until_consumed(stack)
    with stack.connect() as connection:
        found = compare_with_database(ledger, connection, USERS, [HOUR])
    return [line for line in found if not line.startswith(("bytes_hourly", "user_quota_limit"))]


@pytest.mark.parametrize(
    ("number", "act", "gone_seconds"),
    [
        (0, kill, GONE_SECONDS),
        (1, kill_task_process, GONE_SECONDS),
        (2, mark_failed, GONE_SECONDS),
        (3, clear, GONE_SECONDS),
        (4, freeze_everything, HANG_SECONDS + GONE_SECONDS),
    ],
    ids=["kill -9", "kill -9 of the task process", "mark failed", "clear", "SIGSTOP of everything"],
)
def test_a_driver_that_ends_is_replaced_without_an_orphan_and_without_losing_or_doubling_an_event(
    stack: RunningStack,
    ledger: Ledger,
    number: int,
    act: Callable[[Driver, RunningStack], None],
    gone_seconds: float,
) -> None:
    start = HOUR + timedelta(minutes=5 * number)
    wait_until_consumed(stack)
    driver = Driver(stack)
    # In the middle of the traffic, so that a micro-batch is likely to be under way.
    send_minute(stack, ledger, start)
    act(driver, stack)
    send_minute(stack, ledger, start + timedelta(minutes=1))
    wait_until(driver.is_gone, gone_seconds, "every process of the old driver is gone")
    driver.wait_until_replaced(REPLACED_SECONDS)
    assert stream_differences(stack, ledger) == []


def running_drivers(stack: RunningStack) -> list[str]:
    """The commands of this stack's processes that run the streaming job."""
    commands = map(processes.command_line, processes.find(stack.home))
    return [command for command in commands if "antenna_streaming_job" in command]


def test_a_paused_dag_that_is_marked_failed_has_no_driver_until_it_is_on_again(
    stack: RunningStack, ledger: Ledger
) -> None:
    start = HOUR + timedelta(minutes=30)
    wait_until_consumed(stack)
    driver = Driver(stack)
    stack.airflow.unpause(DAG_ID, paused=True)
    try:
        send_minute(stack, ledger, start)
        mark_failed(driver, stack)
        wait_until(driver.is_gone, GONE_SECONDS, "every process of the driver is gone")
        send_minute(stack, ledger, start + timedelta(minutes=1))
        # Three times what a DAG that is on needs to submit the next driver.
        time.sleep(15)
        assert running_drivers(stack) == []
    finally:
        stack.airflow.unpause(DAG_ID)
    driver.wait_until_replaced(REPLACED_SECONDS)
    assert stream_differences(stack, ledger) == []


def test_the_log_says_what_the_stream_does(stack: RunningStack) -> None:
    def log() -> str:
        run_id = newest_run(stack)
        (task,) = stack.airflow.task_instances(DAG_ID, run_id)
        return stack.airflow.task_log(DAG_ID, run_id, "run_stream", task["try_number"])

    wait_until(lambda: "events/s, lag 0 records, last commit" in log(), 30, "a line of progress")
