"""The spark-submit operators with real processes and a real PostgreSQL.

A script stands for spark-submit, so that what it starts dies or freezes on demand.
"""

import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from antenna_airflow.operators.spark_submit import AntennaSparkSubmitOperator
from antenna_airflow.operators.streaming_submit import StreamingSubmitOperator
from tests.conftest import Database, TestPostgres

# spark-submit: writes down how it was called, then is the parent of the driver, as the JVM is.
SUBMIT = """#!{python}
import json, os, subprocess, sys
with open("{home}/called.json", "w") as file:
    json.dump({{"argv": sys.argv, "password": os.environ.get("ANTENNA_DB_PASSWORD")}}, file)
application = next(word for word in sys.argv if word.endswith(".py"))
driver = subprocess.Popen([sys.executable, application])
sys.exit(driver.wait())
"""
# The driver: reports itself as the streaming job does, with a worker in a process group of its own.
DRIVER = """
import os, pathlib, subprocess, sys, time
import psycopg
home = pathlib.Path("{home}")
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
worker = subprocess.Popen(sleep, process_group=0, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
(home / "pids").write_text(f"{{os.getppid()}} {{os.getpid()}} {{worker.pid}}")
beat = (
    "INSERT INTO ops.streams VALUES ('devices', 1, 'running', '', 'host', %s, NULL, now(), now(), now()) "
    "ON CONFLICT (topic) DO UPDATE SET driver_pid = excluded.driver_pid, heartbeat_at = clock_timestamp()"
)
print("stream: 5 events/s, lag 0", flush=True)
while True:
    with psycopg.connect("{url}") as connection:
        connection.execute(beat, (os.getpid(),))
    time.sleep(0.1)
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    submit = tmp_path / "bin" / "spark-submit"
    submit.parent.mkdir()
    submit.write_text(SUBMIT.format(python=sys.executable, home=tmp_path))
    submit.chmod(submit.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{submit.parent}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


@pytest.fixture
def operator(home: Path, postgres_connection: Database, spark_connection: None) -> StreamingSubmitOperator:
    driver = home / "driver.py"
    driver.write_text(DRIVER.format(home=home, url=postgres_connection.url))
    return StreamingSubmitOperator(
        task_id="run_stream",
        name="antenna-streaming",
        topic="devices",
        application=str(driver),
        hang_limit=1.5,
        leftover_limit=1,
        poll_seconds=0.2,
    )


@pytest.fixture
def pids(home: Path) -> Iterator[Callable[[], list[int]]]:
    """The pids of spark-submit, driver and worker, once the driver runs; all are gone after the test."""

    def wait() -> list[int]:
        deadline = time.monotonic() + 20
        while not (home / "pids").exists() or len((home / "pids").read_text().split()) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.5)
        return [int(pid) for pid in (home / "pids").read_text().split()]

    yield wait
    for pid in (home / "pids").read_text().split():
        if runs(int(pid)):
            os.kill(int(pid), signal.SIGKILL)


def runs(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 5
    while any(map(runs, pids)):
        assert time.monotonic() < deadline, [psutil.Process(pid) for pid in pids if runs(pid)]
        time.sleep(0.05)


def later(action: Callable[[], object]) -> None:
    threading.Thread(target=action, daemon=True).start()


def test_the_driver_gets_the_password_by_the_environment_alone(
    home: Path,
    operator: StreamingSubmitOperator,
    pids: Callable[[], list[int]],
    postgres_connection: Database,
    task_log: Callable[[], str],
) -> None:
    later(lambda: os.kill(pids()[1], signal.SIGTERM))
    with pytest.raises(AirflowException):
        operator.execute({})
    called = (home / "called.json").read_text()
    assert called.count(postgres_connection.password) == 1
    assert f'"password": "{postgres_connection.password}"' in called
    assert '"--master", "local[2]"' in called
    assert "ANTENNA_DB_PASSWORD" not in os.environ
    logged = task_log()
    assert postgres_connection.password not in logged
    assert "stream: 5 events/s, lag 0" in logged


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_driver_that_dies_fails_the_task_and_leaves_no_process(
    operator: StreamingSubmitOperator, pids: Callable[[], list[int]], number: signal.Signals
) -> None:
    later(lambda: os.kill(pids()[1], number))
    with pytest.raises(AirflowException, match=r"antenna-streaming (ended with exit code|was ended by)"):
        operator.execute({})
    wait_until_gone(pids())


@pytest.mark.parametrize("frozen", [[1], [0, 1, 2]], ids=["driver", "everything"])
def test_a_frozen_driver_is_killed_with_all_its_processes(
    operator: StreamingSubmitOperator, pids: Callable[[], list[int]], frozen: list[int]
) -> None:
    def freeze() -> None:
        processes = pids()
        for index in frozen:
            os.kill(processes[index], signal.SIGSTOP)

    later(freeze)
    with pytest.raises(
        AirflowException, match=r"antenna-streaming was killed: the driver wrote no heartbeat for \d+ s"
    ):
        operator.execute({})
    wait_until_gone(pids())


def test_a_jvm_that_outlives_its_driver_is_killed(
    operator: StreamingSubmitOperator, pids: Callable[[], list[int]]
) -> None:
    def freeze_jvm_and_end_driver() -> None:
        jvm, driver, _ = pids()
        os.kill(jvm, signal.SIGSTOP)
        os.kill(driver, signal.SIGKILL)

    later(freeze_jvm_and_end_driver)
    with pytest.raises(AirflowException, match="the driver has ended, but processes around it have not"):
        operator.execute({})
    wait_until_gone(pids())


def test_a_database_that_is_away_for_longer_than_the_limit_is_no_hang(
    operator: StreamingSubmitOperator, pids: Callable[[], list[int]], postgres: TestPostgres, home: Path
) -> None:
    """The driver, too, cannot write its heartbeat then; here it goes on once the database is back."""
    driver = home / "driver.py"
    driver.write_text(
        driver.read_text()
        .replace("    with psycopg", "    try:\n     with psycopg")
        .replace("(os.getpid(),))", "(os.getpid(),))\n    except psycopg.Error: pass")
    )

    def stop_and_start() -> None:
        processes = pids()
        postgres.stop()
        time.sleep(3)
        postgres.start()
        time.sleep(2)
        assert all(map(runs, processes))
        os.kill(processes[1], signal.SIGTERM)

    later(stop_and_start)
    with pytest.raises(AirflowException, match=r"antenna-streaming (ended with exit code|was ended by)"):
        operator.execute({})


def test_on_kill_leaves_no_process(operator: StreamingSubmitOperator, pids: Callable[[], list[int]]) -> None:
    def kill() -> None:
        pids()
        operator.on_kill()

    later(kill)
    with pytest.raises(AirflowException):
        operator.execute({})
    wait_until_gone(pids())


def test_on_kill_before_anything_was_started_does_nothing(
    operator: StreamingSubmitOperator, home: Path
) -> None:
    operator.on_kill()
    (home / "pids").write_text("")


def test_spark_submit_ends_with_its_task_process(
    operator: StreamingSubmitOperator, pids: Callable[[], list[int]]
) -> None:
    """kill -9 of the task process: nobody is left to look after the driver."""
    task = os.fork()
    if task == 0:
        operator.execute({})
        os._exit(0)
    submit, _, _ = pids()
    os.kill(task, signal.SIGKILL)
    os.waitpid(task, 0)
    wait_until_gone([submit])


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (None, "Connection spark_default does not load: .*AIRFLOW_CONN_SPARK_DEFAULT"),
        ("spark://local[2]", "Connection spark_default does not load: "),
        ('{"conn_type": "spark"}', "Connection spark_default names no Spark master"),
    ],
)
def test_a_spark_connection_that_is_no_good_starts_nothing(
    operator: StreamingSubmitOperator,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    value: str | None,
    complaint: str,
) -> None:
    if value is None:
        monkeypatch.delenv("AIRFLOW_CONN_SPARK_DEFAULT")
    else:
        monkeypatch.setenv("AIRFLOW_CONN_SPARK_DEFAULT", value)
    with pytest.raises(AirflowFailException, match=complaint):
        AntennaSparkSubmitOperator(task_id="job", application="job.py").execute({})
    assert not (home / "called.json").exists()
