"""What `make status` reads from the database, and the comparison of `make run ONCE=1`."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from rich.console import Console

from include.local_stack.health import judge_stream
from include.local_stack.proof import USERS_FILE, compare
from include.local_stack.settings import Settings
from include.local_stack.status import (
    ServiceStatus,
    Status,
    read_hours,
    read_rejected,
    read_status,
    read_stream,
    render,
    summary_line,
)
from include.simulator.generator import Traffic, generate
from include.simulator.ledger import Ledger, read_users
from tests.conftest import Database

HOUR = datetime(2026, 11, 24, 16, tzinfo=UTC)


@pytest.fixture
def connection(database: Database) -> psycopg.Connection:
    return database.connect()


def insert_stream(connection: psycopg.Connection) -> None:
    connection.execute(
        "INSERT INTO ops.streams VALUES ('devices', 7, 'running', '', 'here', 4711, 'http://127.0.0.1:4040', "
        "now() - interval '1 hour', now() - interval '1 second', now() - interval '3 seconds')"
    )
    connection.execute(
        "INSERT INTO ops.stream_offsets (topic, partition, next_offset, log_end_offset, event_clock) "
        "VALUES ('devices', 0, 100, 130, %s), ('devices', 1, 50, 50, %s)",
        (HOUR + timedelta(minutes=30), HOUR + timedelta(minutes=70)),
    )


def insert_batch(
    connection: psycopg.Connection, hour: datetime, rows: int, age: str = "1 second", reasons: str = "{}"
) -> int:
    row = connection.execute(
        "INSERT INTO ops.micro_batches (topic, epoch, committed_at, accepted, rejected, rejected_by_reason, "
        "executor_ms) VALUES ('devices', 7, now() - %s::interval, %s, 0, %s, 1) "
        "RETURNING commit_id",
        (age, rows, reasons),
    ).fetchone()
    assert row is not None
    commit_id = int(row[0])
    connection.execute(
        "INSERT INTO ops.archive_files VALUES (%s, 'events', %s, %s, 1, 1, '{}', %s)",
        (f"file-{commit_id}", hour, rows, commit_id),
    )
    return commit_id


def compute(connection: psycopg.Connection, hour: datetime, commit_id: int) -> None:
    connection.execute(
        "INSERT INTO ops.hours (hour, covered_commit_id, events, total_bytes) VALUES (%s, %s, 1, 1)",
        (hour, commit_id),
    )


def test_before_the_first_driver(connection: psycopg.Connection) -> None:
    assert read_stream(connection) is None
    assert read_hours(connection) == ([], None)
    assert read_rejected(connection) == {}


def test_the_stream_in_figures(connection: psycopg.Connection) -> None:
    insert_stream(connection)
    insert_batch(connection, HOUR, rows=600)
    insert_batch(connection, HOUR, rows=9999, age="40 seconds")
    connection.execute(
        "INSERT INTO ops.lost_offsets (topic, partition, first_offset, last_offset, acknowledged_at) "
        "VALUES ('devices', 0, 10, 19, NULL), ('devices', 1, 0, 99, now())"
    )
    figures = read_stream(connection)
    assert figures is not None
    assert (figures.state, figures.epoch, figures.driver_pid) == ("running", 7, 4711)
    assert (figures.lag, figures.records_per_second, figures.lost_records) == (30, 20, 10)
    assert figures.caught_up_age is None
    assert figures.commit_age == pytest.approx(3, abs=1)
    assert figures.heartbeat_age == pytest.approx(1, abs=1)


def test_the_hours_and_what_became_of_them(connection: psycopg.Connection) -> None:
    insert_stream(connection)
    first = insert_batch(connection, HOUR - timedelta(hours=2), rows=10)
    second = insert_batch(connection, HOUR - timedelta(hours=1), rows=20)
    compute(connection, HOUR - timedelta(hours=2), second)
    compute(connection, HOUR - timedelta(hours=1), first)
    compute(connection, HOUR - timedelta(hours=3), second)
    insert_batch(connection, HOUR, rows=5)
    hours, sealed_before = read_hours(connection)
    assert [tuple(hour) for hour in hours] == [
        (HOUR, 5, False, False),
        (HOUR - timedelta(hours=1), 20, True, True),
        (HOUR - timedelta(hours=2), 10, True, False),
        (HOUR - timedelta(hours=3), 0, True, False),
    ]
    # The slower partition is at 16:30.
    assert sealed_before == HOUR


def test_rejected_records_of_one_day_by_reason(connection: psycopg.Connection) -> None:
    insert_stream(connection)
    insert_batch(connection, HOUR, 1, reasons='{"not_json": 2, "negative": 1}')
    insert_batch(connection, HOUR, 1, age="23 hours", reasons='{"negative": 5}')
    insert_batch(connection, HOUR, 1, age="25 hours", reasons='{"not_json": 100}')
    assert list(read_rejected(connection).items()) == [("negative", 6), ("not_json", 2)]


def screen(status: Status) -> str:
    console = Console(width=100, record=True, file=Path("/dev/null").open("w"))  # noqa: SIM115
    console.print(render(status))
    return console.export_text()


def test_one_screen(connection: psycopg.Connection) -> None:
    insert_stream(connection)
    compute(connection, HOUR - timedelta(hours=1), insert_batch(connection, HOUR - timedelta(hours=1), 20))
    insert_batch(connection, HOUR, rows=600, reasons='{"not_json": 2}')
    figures, (hours, sealed) = read_stream(connection), read_hours(connection)
    services = [
        ServiceStatus("kafka", "running", True, 12, 9092, 3700),
        ServiceStatus("triggerer", "backoff", False, 0, None, 0),
    ]
    status = Status(services, judge_stream(figures), figures, hours, sealed, read_rejected(connection))
    assert not status.healthy
    text = screen(status)
    for line in (
        r"kafka      running  12   9092  1 h 1 min",
        r"triggerer  backoff",
        "Stream running: what has come is counted",
        "21 records/s, lag 30 records, last commit 3 s ago, driver pid 4711",
        "2026-11-24 16:00     600  open",
        "2026-11-24 15:00      20  computed",
        "Rejected in 24 h: not_json 2",
    ):
        assert line in text, text
    assert "down: triggerer" in summary_line(status)


def test_a_stack_that_does_not_run(tmp_path: Path) -> None:
    status = read_status(Settings(tmp_path / "none", 1, 2, 3, tmp_path))
    assert not status.healthy
    assert "Stream stopped: the stack is not running\n  next: make run" in screen(status)
    assert not (tmp_path / "none").exists()


@pytest.fixture
def sent(tmp_path: Path) -> Ledger:
    """A ledger of two hours of traffic."""
    ledger = Ledger(tmp_path / "ledger", create=True)
    traffic = Traffic(events_per_second=1, broken_share=0.1, unknown_share=0.1)
    for hour in (HOUR, HOUR + timedelta(hours=1)):
        start = int(hour.timestamp())
        ledger.record(generate(traffic, start, start + 3600).tally)
    return ledger


def keep(connection: psycopg.Connection, ledger: Ledger, hours: list[datetime]) -> None:
    """Fill the tables as the two layers would."""
    users = read_users(USERS_FILE)
    counts = ledger.counts()
    insert_stream(connection)
    connection.execute(
        "INSERT INTO ops.micro_batches (topic, epoch, accepted, rejected, rejected_by_reason, executor_ms) "
        "VALUES ('devices', 7, %s, %s, '{}', 1)",
        (counts.accepted, sum(counts.rejected.values())),
    )
    with connection.cursor() as cursor:
        cursor.executemany("INSERT INTO bytes VALUES (%s, %s, %s, %s)", ledger.expected_bytes())
        hourly = [row for row in ledger.expected_bytes_hourly(users) if row.timestamp in hours]
        cursor.executemany("INSERT INTO bytes_hourly VALUES (%s, %s, %s, %s)", hourly)
        quota = [row for row in ledger.expected_user_quota_limit(users) if row.timestamp in hours]
        cursor.executemany("INSERT INTO user_quota_limit VALUES (%s, %s, %s, %s)", quota)
    for hour in hours:
        compute(connection, hour, 1)


def test_equal_tables_and_an_hour_that_is_still_open(connection: psycopg.Connection, sent: Ledger) -> None:
    keep(connection, sent, [HOUR])
    proof = compare(sent, connection, required=[HOUR])
    assert proof.differences == []
    assert proof.hours == [HOUR]
    assert [line.what for line in proof.compared] == [
        "accepted records",
        "rejected records",
        "bytes",
        "bytes_hourly",
        "user_quota_limit",
    ]
    assert all(line.sent_rows == line.kept_rows > 0 for line in proof.compared)
    assert all(line.sent_total == line.kept_total for line in proof.compared)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("UPDATE bytes SET value = value + 1 WHERE id = 'SKYPE'", "bytes 2026-11-24T16:00:00Z app_total"),
        ("UPDATE bytes_hourly SET value = 0 WHERE id = 'unknown'", "bytes_hourly 2026-11-24T16:00:00Z mail"),
        ("DELETE FROM user_quota_limit", "user_quota_limit 2026-11-24T16:00:00Z"),
        ("DELETE FROM bytes WHERE id = 'SKYPE'", "bytes: sent"),
        ("UPDATE ops.micro_batches SET rejected = rejected - 1", "rejected records: sent"),
        ("UPDATE ops.micro_batches SET accepted = accepted + 1", "accepted records: sent"),
        ("DELETE FROM ops.hours", "hour 2026-11-24T16:00Z: not computed"),
    ],
)
def test_every_difference_is_named(
    connection: psycopg.Connection, sent: Ledger, change: str, expected: str
) -> None:
    keep(connection, sent, [HOUR])
    connection.execute(change.encode())
    proof = compare(sent, connection, required=[HOUR])
    assert any(line.startswith(expected) for line in proof.differences), proof.differences
