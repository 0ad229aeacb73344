"""No password of the stack stands where others may read it, and nothing listens to other machines."""

import dataclasses
import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from include.local_stack import processes

from .conftest import RunningStack

# What Airflow keeps of runs and tasks, as text.
AIRFLOW_TEXTS = {
    "rendered templates": "SELECT rendered_fields::text FROM rendered_task_instance_fields",
    "XCom": "SELECT value::text FROM xcom",
    "serialized DAGs": "SELECT data::text FROM serialized_dag",
    "configs of runs": "SELECT conf::text FROM dag_run",
    "audit log": "SELECT extra::text FROM log",
}


@pytest.fixture
def secrets(stack: RunningStack) -> dict[str, bytes]:
    """Name -> password or key of the stack."""
    values = dataclasses.asdict(stack.settings.load_secrets())
    return {name: str(value).encode() for name, value in values.items()}


def found(secrets: dict[str, bytes], where: str, content: bytes) -> list[str]:
    return [f"{name} in {where}" for name, value in secrets.items() if value in content]


def files_of_others(home: Path) -> Iterator[Path]:
    """Files that not only their owner may read, and every log."""
    for path in home.rglob("*"):
        if path.is_file() and not path.is_symlink():
            private = stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
            if not private or path.suffix == ".log" or "logs" in path.parts:
                yield path


def test_the_search_finds_what_is_there(stack: RunningStack, secrets: dict[str, bytes]) -> None:
    file = stack.settings.stack_env_file
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "db_password in stack.env" in found(secrets, file.name, file.read_bytes())


def test_no_command_line_holds_a_secret(stack: RunningStack, secrets: dict[str, bytes]) -> None:
    running = processes.find(stack.settings.home)
    assert any("antenna_streaming_job.py" in processes.command_line(process) for process in running)
    for process in running:
        line = processes.command_line(process)
        assert found(secrets, line[:60], line.encode()) == []


def test_no_log_and_no_file_for_others_holds_a_secret(stack: RunningStack, secrets: dict[str, bytes]) -> None:
    home = stack.settings.home
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    searched = list(files_of_others(home))
    assert any(path.name.startswith("attempt=") for path in searched), "no log of a task was looked at"
    assert [hit for path in searched for hit in found(secrets, str(path), path.read_bytes())] == []


def test_airflow_keeps_no_secret(stack: RunningStack, secrets: dict[str, bytes]) -> None:
    with psycopg.connect(
        host="127.0.0.1",
        port=stack.settings.db_port,
        dbname="airflow",
        user="airflow",
        password=secrets["airflow_db_password"].decode(),
    ) as connection:
        for where, query in AIRFLOW_TEXTS.items():
            texts = [row[0] for row in connection.execute(query.encode()).fetchall() if row[0]]
            assert texts or where == "audit log", f"no {where} to look at"
            assert found(secrets, where, "\n".join(texts).encode()) == []


def test_the_spark_ui_shows_no_secret(stack: RunningStack, secrets: dict[str, bytes]) -> None:
    with stack.connect() as connection:
        row = connection.execute("SELECT spark_ui_url FROM ops.streams").fetchone()
    assert row is not None
    answer = httpx.get(f"{row[0]}/environment/", follow_redirects=True, trust_env=False)
    assert "spark.driver.host" in answer.text
    assert found(secrets, "the environment tab", answer.content) == []


def test_everything_listens_on_this_machine_alone(stack: RunningStack) -> None:
    listening = {
        (connection.laddr.ip.removeprefix("::ffff:"), processes.command_line(process)[:60])
        for process in processes.find(stack.settings.home)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert len(listening) >= 4
    assert {address for address, _ in listening} == {"127.0.0.1"}, listening
