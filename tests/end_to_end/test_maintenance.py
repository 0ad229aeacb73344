"""The commands `make check` and `make replay`, and the DAG maintenance, on a running stack."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from include.local_stack.settings import PROJECT_ROOT
from include.simulator.ledger import Ledger, compare_with_database, read_users

from .conftest import RunningStack
from .drills import send_minute, wait_until_consumed

# A day of its own, so that no other traffic falls into it.
DAY = datetime(2021, 4, 7, tzinfo=UTC)
USERS = read_users(PROJECT_ROOT / "include" / "provisioner" / "user_metadata.csv")
HOURS = [DAY + timedelta(hours=hour) for hour in (8, 9)]


def run(stack: RunningStack, command: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """What `make check` and `make replay` run."""
    return subprocess.run(
        [sys.executable, "-m", "include.maintenance", command],
        env={
            **stack.process_env,
            "ANTENNA_DB_PORT": str(urlsplit(stack.env["ANTENNA_DB_URL"]).port),
            **settings,
        },
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def metered(
    stack: RunningStack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[RunningStack, Ledger]]:
    """Two hours of which each came in several micro-batches."""
    with Ledger(tmp_path_factory.mktemp("ledger") / "ledger", create=True) as ledger:
        for minute in range(3):
            for hour in HOURS:
                send_minute(stack, ledger, hour + timedelta(minutes=minute))
            wait_until_consumed(stack)
        yield stack, ledger


def test_check_names_what_differs_and_exits_0_only_if_nothing_does(
    metered: tuple[RunningStack, Ledger],
) -> None:
    stack, _ = metered
    healthy = run(stack, "check")
    assert (healthy.returncode, healthy.stderr) == (0, "")
    assert healthy.stdout.strip().endswith("compared with the tables: nothing differs")
    assert "were read whole" in run(stack, "check", DEEP="1").stdout
    path = next((stack.storage / "events" / "year=2021" / "month=4").rglob("*.parquet"))
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    try:
        found = run(stack, "check")
    finally:
        path.write_bytes(content)
    assert found.returncode == 1
    assert f"{path.name}: damaged" in found.stdout
    assert f"{len(content) - 1} bytes long, by the manifest {len(content)}" in found.stdout
    assert "next: restore it from a backup" in found.stdout


def test_the_dag_merges_files_beside_the_running_stream(metered: tuple[RunningStack, Ledger]) -> None:
    stack, ledger = metered
    run_id = stack.airflow.trigger("maintenance", {"deep": True})
    state = stack.airflow.wait_for_run("maintenance", run_id, timeout=120)
    assert state == "success", stack.airflow.failure("maintenance", run_id)
    with stack.connect() as connection:
        files = connection.execute(
            "SELECT hour, count(*), sum(rows)::bigint FROM ops.archive_files "
            "WHERE kind = 'events' AND hour = ANY(%s) GROUP BY hour ORDER BY hour",
            (HOURS,),
        ).fetchall()
        differences = compare_with_database(ledger, connection, USERS, HOURS)
    assert [(hour, count) for hour, count, _ in files] == [(hour, 1) for hour in HOURS]
    assert sum(rows for _, _, rows in files) == ledger.counts().accepted
    # Nobody has computed these hours, so bytes_hourly has no rows of them.
    assert [line for line in differences if not line.startswith(("bytes_hourly", "user_quota_limit"))] == []
    assert run(stack, "check", DEEP="1").returncode == 0


def test_replay_of_records_that_are_still_broken(metered: tuple[RunningStack, Ledger]) -> None:
    stack, _ = metered
    replayed = run(stack, "replay")
    assert (replayed.returncode, replayed.stderr) == (0, "")
    assert "0 records were accepted\n" in replayed.stdout
    assert "are still rejected, " in replayed.stdout
    selected = run(stack, "replay", REASON="not_json", FROM="2021-01-01T00:00:00Z")
    assert "still rejected, not_json " in selected.stdout
    assert run(stack, "check", DEEP="1").returncode == 0
    run_id = stack.airflow.trigger("replay_rejected", {"reason": "negative"})
    assert stack.airflow.wait_for_run("replay_rejected", run_id, timeout=60) == "success"


@pytest.mark.parametrize(
    ("command", "settings", "message"),
    [
        ("check", {"DEEP": "yes"}, "DEEP='yes' is neither 0 nor 1"),
        ("replay", {"REASON": "too_old"}, "REASON='too_old' is none of not_json"),
        ("replay", {"FROM": "2021-01-01"}, "FROM: timestamp '2021-01-01' has no offset from UTC"),
        ("repair", {}, "usage: python -m include.maintenance check|replay"),
    ],
)
def test_bad_settings(stack: RunningStack, command: str, settings: dict[str, str], message: str) -> None:
    result = run(stack, command, **settings)
    assert result.returncode == 2
    assert message in result.stderr


def test_without_a_stack(stack: RunningStack, tmp_path: Path) -> None:
    result = run(stack, "check", ANTENNA_HOME=str(tmp_path))
    assert result.returncode == 2
    assert f"There is no stack in ANTENNA_HOME={tmp_path}: start it with `make run`" in result.stderr
