"""The commands of the Makefile: bad settings, a second stack, and the way from start over a crash to stop."""

import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from include.local_stack import processes
from include.local_stack.settings import PROJECT_ROOT, free_port

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
