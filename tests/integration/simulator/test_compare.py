"""The ledger against the tables in PostgreSQL."""

import csv
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from include.simulator.ledger import Ledger, Pending, SenderState, compare_with_database, read_users
from include.simulator.ledger.__main__ import main
from include.simulator.tally import Tally

DATA = Path(__file__).parents[2] / "data"
USERS_CSV = DATA / "user_metadata.csv"
TABLES = ("bytes", "bytes_hourly", "user_quota_limit")
TWELVE, THIRTEEN = (datetime(2020, 9, 20, hour, tzinfo=UTC) for hour in (12, 13))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger of one event with 7 bytes at 12:45 and one with 5001 bytes at 13:00."""
    tally = Tally()
    fede = "00000000-0000-0000-0000-000000000004"
    tally.add(event_time=1_600_605_900, device="nobody's", antenna="x", app="SKYPE", size=7)
    tally.add(event_time=1_600_606_800, device=fede, antenna="x", app="SKYPE", size=5001)
    with Ledger(tmp_path / "ledger", create=True) as made:
        made.record(tally)
        yield made


@pytest.fixture
def connection(
    database: Any, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> Iterator[psycopg.Connection]:
    """A database that holds what the ledger prints; its session is not in UTC."""
    shared = ["expected", "--ledger", str(ledger.path), "--users", str(USERS_CSV), "--table"]
    with database.connect() as made:
        made.execute("SET TIME ZONE 'Asia/Kathmandu'")
        for table in TABLES:
            assert main([*shared, table]) == 0
            header, *rows = csv.reader(capsys.readouterr().out.splitlines())
            columns = sql.SQL(", ").join(map(sql.Identifier, header))
            statement = sql.SQL("COPY public.{} ({}) FROM STDIN").format(sql.Identifier(table), columns)
            with made.cursor().copy(statement) as copy:
                for row in rows:
                    copy.write_row(row)
        yield made


def test_equal_tables_have_no_differences(ledger: Ledger, connection: psycopg.Connection) -> None:
    users = read_users(USERS_CSV)
    assert compare_with_database(ledger, connection, users) == []
    assert compare_with_database(ledger, connection, users, {TWELVE, THIRTEEN}) == []
    rows = connection.execute("SELECT email, usage, quota FROM user_quota_limit").fetchall()
    assert rows == [("fede@gmail.com", 5001, 5000)]


def test_every_kind_of_difference_is_named(ledger: Ledger, connection: psycopg.Connection) -> None:
    connection.execute("UPDATE bytes SET value = 8 WHERE type = 'app_total_bytes' AND value = 7")
    connection.execute("DELETE FROM bytes_hourly WHERE id = 'unknown'")
    connection.execute("INSERT INTO user_quota_limit VALUES ('x@x', 2, 1, '2020-09-20T12:00:00Z')")
    users = read_users(USERS_CSV)
    differences = [
        "bytes 2020-09-20T12:45:00Z app_total_bytes SKYPE: expected 7, found 8",
        "bytes_hourly 2020-09-20T12:00:00Z mail_total_bytes unknown: expected 7, found no row",
        "user_quota_limit 2020-09-20T12:00:00Z x@x: expected no row, found 2 / 1",
    ]
    assert compare_with_database(ledger, connection, users) == differences
    assert compare_with_database(ledger, connection, users, [TWELVE]) == differences
    assert compare_with_database(ledger, connection, users, [THIRTEEN]) == []


def test_events_under_way_are_named_where_they_matter(ledger: Ledger, connection: psycopg.Connection) -> None:
    tally = Tally()
    tally.add(event_time=1_600_606_800, device="d", antenna="x", app="SKYPE", size=1)
    ledger.begin("live", SenderState("devices", "plan", 0, {}), Pending(1, [b"one"], tally))
    users = read_users(USERS_CSV)
    (difference,) = compare_with_database(ledger, connection, users)
    assert "sender 'live' has 1 events under way" in difference
    assert compare_with_database(ledger, connection, users, [TWELVE]) == []
    assert len(compare_with_database(ledger, connection, users, [THIRTEEN])) == 1


def test_compare_command(
    ledger: Ledger,
    connection: psycopg.Connection,
    database: Any,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = ["compare", "--ledger", str(ledger.path), "--users", str(USERS_CSV), "--db-url-env", "URL"]
    monkeypatch.setenv("URL", database.url)
    assert main(arguments) == 0
    assert "equal" in capsys.readouterr().out
    connection.execute("DELETE FROM bytes WHERE type = 'app_total_bytes'")
    assert main([*arguments, "--hours", "2020-09-20T18:30:00+05:30"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "bytes 2020-09-20T13:00:00Z app_total_bytes SKYPE: expected 5001, found no row",
        "1 differences between ledger and database",
    ]
    monkeypatch.setenv("URL", database.url.replace(database.password, "wrong"))
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "password authentication failed" in error
    assert error.count("\n") == 1
