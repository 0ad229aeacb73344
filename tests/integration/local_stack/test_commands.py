"""The commands of the Makefile: bad settings, a second stack, and the way from start over a crash to stop."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from include.local_stack import processes
from include.local_stack.settings import PROJECT_ROOT, free_port, read_stack_env

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environment(jars: Path, tmp_path: Path) -> Iterator[dict[str, str]]:
    """A home and ports of its own; whatever a test leaves in them is ended."""
    home = tmp_path / "home"
    ports = ("ANTENNA_KAFKA_PORT", "ANTENNA_DB_PORT", "ANTENNA_AIRFLOW_PORT")
    yield {
        **os.environ,
        **{name: str(free_port()) for name in ports},
        "ANTENNA_HOME": str(home),
        "ANTENNA_JARS": str(jars),
        "COLUMNS": "120",
    }
    for process in processes.find(home):
        process.kill()


@pytest.fixture
def command(environment: dict[str, str]) -> Command:
    def run(name: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "include.local_stack", name],
            cwd=PROJECT_ROOT,
            env={**environment, **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return run


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"ANTENNA_DB_PORT": "x"}, "ANTENNA_DB_PORT='x' is no port: give a number from 1 to 65535."),
        ({"ONCE": "yes"}, "ONCE='yes' is neither 0 nor 1."),
        ({"SIMULATOR": "2"}, "SIMULATOR='2' is neither 0 nor 1."),
        ({"ONCE": "1", "SIMULATOR": "0"}, "it does not go with SIMULATOR=0."),
    ],
)
def test_bad_settings(command: Command, variables: dict[str, str], message: str) -> None:
    result = command("run", **variables)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_an_unknown_command(command: Command) -> None:
    result = command("start")
    assert (result.returncode, result.stderr) == (
        2,
        "error: usage: python -m include.local_stack run|stop|status|setup\n",
    )


def test_a_home_that_is_no_folder(command: Command, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = command("run", ANTENNA_HOME=str(tmp_path / "file"))
    assert result.returncode == 1
    assert f"error: ANTENNA_HOME={tmp_path / 'file'} is not writable (File exists)" in result.stderr


def test_a_taken_port(command: Command, environment: dict[str, str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", int(environment["ANTENNA_AIRFLOW_PORT"])))
        other.listen()
        result = command("run")
    assert result.returncode == 1
    assert f"Port {environment['ANTENNA_AIRFLOW_PORT']} (ANTENNA_AIRFLOW_PORT) is taken" in result.stderr
    assert "or choose another port: make run ANTENNA_AIRFLOW_PORT=" in result.stderr


def test_one_home_has_one_stack(command: Command, environment: dict[str, str]) -> None:
    home = Path(environment["ANTENNA_HOME"])
    home.mkdir()
    with (home / "run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = command("run")
    assert result.returncode == 1
    assert (
        f"error: The stack in ANTENNA_HOME={home} is running already. Stop it with `make stop`"
        in result.stderr
    )


def test_where_nothing_runs(command: Command) -> None:
    status = command("status")
    assert status.returncode == 1
    assert "Stream stopped: the stack is not running\n  next: make run" in status.stdout
    stop = command("stop")
    assert stop.returncode == 0
    assert "Nothing of the stack in" in stop.stdout


def test_from_start_over_a_crash_to_the_stop(command: Command, environment: dict[str, str]) -> None:
    """`make run` and its supervisor are killed: the servers live on, and `make stop` finds every one."""
    home = Path(environment["ANTENNA_HOME"])
    log = home.with_name("run.log")
    with log.open("w") as output:
        # In a session of its own, as a terminal has it.
        make = subprocess.Popen(
            ["make", "run"], cwd=PROJECT_ROOT, env=environment, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
    try:
        # Healthy: every service is up, and the stream counts what the simulator sends.
        assert _becomes_healthy(command), log.read_text() + command("status").stdout
        assert read_stack_env(home / "stack.env")["ANTENNA_STORAGE"] == str(home / "storage")
        assert "ANTENNA_DB_URL" not in log.read_text()
        assert "is running already" in command("run").stderr

        crash = [*psutil.Process(make.pid).children(), _supervisor(home)]
        processes.send(crash, signal.SIGKILL)
        make.wait(timeout=10)
        assert len(processes.find(home)) > 10
        status = command("status")
        assert status.returncode == 1
        assert "the stack is not running" in status.stdout

        stop = command("stop")
        assert (stop.returncode, stop.stderr) == (0, "")
        assert processes.find(home) == []
        assert not (home / "stack.env").exists()
    finally:
        if make.poll() is None:
            os.killpg(make.pid, signal.SIGTERM)
            make.wait(timeout=90)


def _becomes_healthy(command: Command) -> bool:
    deadline = time.monotonic() + 180
    while command("status").returncode != 0:
        if time.monotonic() > deadline:
            return False
        time.sleep(3)
    return True


def _supervisor(home: Path) -> psutil.Process:
    (found,) = (one for one in processes.find(home) if "supervisord" in processes.command_line(one))
    return found
