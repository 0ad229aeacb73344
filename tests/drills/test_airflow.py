"""Drills on Airflow: what it runs is killed, cleared, marked, paused, stopped and restarted under traffic."""

import os
import signal
import time
from collections.abc import Callable
from random import Random

import psutil
import pytest

from include.local_stack import processes
from include.local_stack.supervision import Supervisor

from .airflow_stack import STREAM, AirflowDriver, AirflowStack
from .events import event
from .lost_records import LOST, lose_records_beside_a_driver
from .results import Trial

pytestmark = pytest.mark.in_turns(3)
# Airflow notices within its heartbeat of 5 s, and kills 5 s after it asked.
GONE_SECONDS = 25
HANG_SECONDS = 75
# A worker that dies is missed after a minute, a scheduler after 15 s.
REPLACED_SECONDS = 150
RUNS_ARE_LOCKED = """
SELECT 1
FROM pg_locks
INNER JOIN pg_stat_activity USING (pid)
WHERE relation = 'dag_run'::regclass AND mode = 'RowShareLock' AND state = 'idle in transaction'
"""


def kill_driver(stack: AirflowStack, driver: AirflowDriver) -> None:
    os.kill(driver.pid, signal.SIGKILL)


def kill_task(stack: AirflowStack, driver: AirflowDriver) -> None:
    os.kill(driver.task_pid, signal.SIGKILL)


def kill_worker(stack: AirflowStack, driver: AirflowDriver) -> None:
    os.kill(driver.worker_pid, signal.SIGKILL)


def kill_scheduler(stack: AirflowStack, driver: AirflowDriver) -> None:
    os.kill(stack.pid_of("scheduler"), signal.SIGKILL)


def kill_scheduler_in_a_transaction(stack: AirflowStack, driver: AirflowDriver) -> None:
    """While it has runs locked, so that the next scheduler must not wait for its connection to end."""
    scheduler = psutil.Process(stack.pid_of("scheduler"))

    def caught() -> bool:
        scheduler.suspend()
        if stack.ask_airflow(RUNS_ARE_LOCKED):
            return True
        scheduler.resume()
        return False

    stack.wait(caught, 60, "the scheduler has runs locked")
    scheduler.kill()


def mark_failed(stack: AirflowStack, driver: AirflowDriver) -> None:
    stack.set_state("failed")


def mark_success(stack: AirflowStack, driver: AirflowDriver) -> None:
    stack.set_state("success")


def clear(stack: AirflowStack, driver: AirflowDriver) -> None:
    stack.clear()


def freeze_everything(stack: AirflowStack, driver: AirflowDriver) -> None:
    for process in driver.processes:
        process.suspend()


ACTS = {
    act.__name__: act
    for act in (
        kill_driver,
        kill_task,
        kill_worker,
        kill_scheduler,
        kill_scheduler_in_a_transaction,
        mark_failed,
        mark_success,
        clear,
        freeze_everything,
    )
}


@pytest.mark.parametrize("act", ACTS)
def test_stream(stack: AirflowStack, trial: Trial, luck: Random, act: str) -> None:
    """Another driver takes over, and not a process of the older one is left."""
    pause = luck.uniform(0, 3)
    trial.choose(pause=pause)
    time.sleep(pause)
    driver = AirflowDriver(stack)
    ACTS[act](stack, driver)
    ended = time.time()
    if act == "freeze_everything":
        stack.wait(driver.is_gone, HANG_SECONDS, "the frozen processes are gone")
        ended = time.time()
    stack.wait(driver.is_replaced, REPLACED_SECONDS, f"driver of epoch {driver.epoch} replaced")
    stack.wait(driver.is_gone, GONE_SECONDS, "every process of the older driver is gone")
    trial.recover(ended, after_epoch=driver.epoch)
    trial.check()


@pytest.mark.parametrize("act", ["kill_driver", "mark_failed"])
def test_paused_stream(stack: AirflowStack, trial: Trial, luck: Random, act: str) -> None:
    """The DAG is off: a driver that ends has no successor until it is on again."""
    stack.airflow.unpause(STREAM, paused=True)
    driver = AirflowDriver(stack)
    ACTS[act](stack, driver)
    try:
        stack.wait(driver.is_gone, GONE_SECONDS, "every process of the driver is gone")
        alone = luck.uniform(10, 15)
        trial.choose(seconds=alone)
        time.sleep(alone)
        assert not driver.is_replaced()
    finally:
        stack.airflow.unpause(STREAM)
    trial.recover(time.time())
    trial.check()


@pytest.mark.parametrize("away", ["seconds", "a_minute"])
def test_postgres_away(stack: AirflowStack, trial: Trial, luck: Random, away: str) -> None:
    """Airflow's database is on this server too; its scheduler hangs when it comes back, and is replaced."""
    seconds = luck.uniform(3, 20) if away == "seconds" else luck.uniform(45, 60)
    trial.choose(seconds=seconds)
    supervisor = Supervisor(stack.settings)
    supervisor.stop_program("postgres")
    time.sleep(seconds)
    supervisor.start_program("postgres")
    stack.wait(stack.postgres_answers, 30, "PostgreSQL answers")
    trial.recover(time.time())
    stack.wait(stack.airflow_is_healthy, 150, "every part of Airflow is healthy")
    run_id = stack.airflow.trigger("antenna_batch", {"timestamp": "2021-01-01T00:00:00Z"})
    assert stack.airflow.wait_for_run("antenna_batch", run_id, timeout=180) == "success"
    trial.check()


def test_triggerer_killed(stack: AirflowStack, trial: Trial, luck: Random) -> None:
    """An hour that waits to be sealed goes on waiting in another triggerer, and is computed."""
    past = time.time() - 86_400 * luck.randint(2, 300)
    trial.choose(hour=past)
    stack.send([(event(past), None)], 0)
    stack.wait_until_consumed()
    timestamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(past))
    run_id = stack.airflow.trigger("antenna_batch", {"timestamp": timestamp})
    time.sleep(luck.uniform(0, 4))
    os.kill(stack.pid_of("triggerer"), signal.SIGKILL)
    trial.recover(time.time())
    state = stack.airflow.wait_for_run("antenna_batch", run_id, timeout=180)
    assert state == "success", stack.airflow.failure("antenna_batch", run_id)
    trial.check()


def test_lost_records_are_an_alarm(stack: AirflowStack, trial: Trial, luck: Random) -> None:
    """In the log of the stream's task, in `make status`, and as a failed check of every hour."""
    stack.stop_traffic()
    stack.wait_until_consumed()
    assert stack.sent.read_log() == []
    partition, count = luck.randrange(4), luck.randint(1, 50)
    lost = lose_records_beside_a_driver(stack, partition, count)
    trial.recover(time.time())
    stack.wait(lambda: stack.query(LOST) == [lost], 60, f"an alarm about {lost}")
    words = f"retention removed offsets {lost[1]} to {lost[2]}"
    stack.wait(lambda: words in stack.stream_log(), 30, "the alarm is in the task's log")
    assert f"{count:,} records were removed from Kafka before they were read" in stack.describe()
    trial.check()
    run_id = stack.airflow.trigger("antenna_batch", {"timestamp": "2021-01-01T00:00:00Z"})
    assert stack.airflow.wait_for_run("antenna_batch", run_id, timeout=180) == "failed"
    figures = f"devices partition {partition} offsets {lost[1]} to {lost[2]}"
    assert figures in stack.airflow.failure("antenna_batch", run_id)
    stack.query("UPDATE ops.lost_offsets SET acknowledged_at = now() RETURNING 1")
    body = {"dag_run_id": run_id, "only_failed": True, "dry_run": False}
    stack.airflow.request("POST", "/api/v2/dags/antenna_batch/clearTaskInstances", json=body)
    assert stack.airflow.wait_for_run("antenna_batch", run_id, timeout=120) == "success"
    trial.check()


def stop_and_run(stack: AirflowStack) -> None:
    result = stack.make("stop")
    assert (result.returncode, result.stderr) == (0, ""), result.stderr
    assert processes.find(stack.settings.home) == []
    assert not stack.settings.stack_env_file.exists()
    stack.run_again()


def crash_and_stop(stack: AirflowStack) -> None:
    """`make run` and supervisord die, the servers live on, and `make stop` finds every one."""
    assert "is running already" in stack.make("run").stderr
    stack.kill_runner()
    assert len(processes.find(stack.settings.home)) > 10
    status = stack.make("status")
    assert status.returncode != 0
    assert "the stack is not running" in status.stdout
    stop_and_run(stack)


def reboot(stack: AirflowStack) -> None:
    stack.kill_everything()
    stack.run_again()


RESTARTS: dict[str, Callable[[AirflowStack], None]] = {
    act.__name__: act for act in (stop_and_run, crash_and_stop, reboot)
}


@pytest.mark.parametrize("act", RESTARTS)
def test_whole_stack(stack: AirflowStack, trial: Trial, luck: Random, act: str) -> None:
    """Everything is stopped in order, or killed at once; `make run` goes on where it was."""
    pause = luck.uniform(0, 5)
    time.sleep(pause)
    driver = AirflowDriver(stack)
    # The devices go on sending to a broker that is away; their client takes a while to find it again.
    RESTARTS[act](stack)
    healthy, sent = time.time(), sum(stack.end_offsets().values())
    stack.wait(lambda: sum(stack.end_offsets().values()) > sent, 90, "the devices send again")
    trial.choose(pause=pause, devices_back=round(time.time() - healthy, 1))
    trial.recover(healthy, after_epoch=driver.epoch)
    trial.check()
