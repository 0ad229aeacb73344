"""An hour as the stream and the batch job leave it, on a real PostgreSQL."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import psycopg
import pytest

from antenna_airflow.defaults import CHECKS, POSTGRES_CONNECTION
from antenna_airflow.operators.hour_check import HourCheckOperator
from tests.conftest import Database

HOUR = datetime(2021, 9, 26, 16, tzinfo=UTC)


@pytest.fixture
def connection(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[psycopg.Connection]:
    monkeypatch.setenv(
        f"AIRFLOW_CONN_{POSTGRES_CONNECTION.upper()}",
        json.dumps(
            {
                "conn_type": "postgres",
                "host": database.host,
                "port": database.port,
                "schema": database.name,
                "login": database.user,
                "password": database.password,
            }
        ),
    )
    with database.connect() as connection:
        yield connection


@pytest.fixture
def run_check(connection: psycopg.Connection) -> Callable[[str], None]:
    """Run one check of include/sql/checks as the DAG does."""

    def run(name: str) -> None:
        HourCheckOperator(
            task_id=name,
            conn_id=POSTGRES_CONNECTION,
            sql=(CHECKS / f"{name}.sql").read_text(),
            parameters={"hour": HOUR.isoformat()},
        ).execute({})

    return run


@pytest.fixture
def good_hour(connection: psycopg.Connection) -> psycopg.Connection:
    """Two commits of one file each, 300 and 12 bytes, both covered by the batch; ana is over her quota.

    The hours before and after hold other figures, which must not be looked at.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO ops.streams "
            "VALUES ('devices', 1, 'running', '', 'host', 1, NULL, now(), now(), now())"
        )
        for commit_id, rows, total in ((1, 3, 300), (2, 1, 12)):
            commit(connection, commit_id, rows, total)
        for hours in (-1, 0, 1):
            scale = 1 if hours == 0 else 100
            cursor.execute(
                """
                INSERT INTO bytes (timestamp, type, id, value)
                SELECT
                    %(hour)s + make_interval(hours => %(hours)s, mins => 5 * slot),
                    type, id, value * %(scale)s
                FROM (VALUES
                    (0, 'antenna_total_bytes', 'a', 100), (11, 'antenna_total_bytes', 'b', 212),
                    (0, 'user_total_bytes', '1', 100), (11, 'user_total_bytes', '2', 212),
                    (0, 'app_total_bytes', 'SKYPE', 100), (11, 'app_total_bytes', 'SKYPE', 212)
                ) AS windows (slot, type, id, value)
                """,
                {"hour": HOUR, "hours": hours, "scale": scale},
            )
            cursor.execute(
                """
                INSERT INTO bytes_hourly (timestamp, type, id, value)
                SELECT %(hour)s + make_interval(hours => %(hours)s), type, id, value * %(scale)s
                FROM (VALUES
                    ('antenna_total_bytes', 'a', 100), ('antenna_total_bytes', 'b', 212),
                    ('mail_total_bytes', 'ana@x.org', 100), ('mail_total_bytes', 'unknown', 212),
                    ('app_total_bytes', 'SKYPE', 312)
                ) AS totals (type, id, value)
                """,
                {"hour": HOUR, "hours": hours, "scale": scale},
            )
        cursor.execute("INSERT INTO ops.hours VALUES (%s, 2, 4, 312, now())", (HOUR,))
        cursor.execute("INSERT INTO user_quota_limit VALUES ('ana@x.org', 100, 99, %s)", (HOUR,))
    return connection


def commit(connection: psycopg.Connection, commit_id: int, rows: int, total_bytes: int) -> None:
    """One micro-batch with one file of events of the hour, and one of rejected records."""
    connection.execute(
        "INSERT INTO ops.micro_batches "
        "(commit_id, topic, epoch, accepted, rejected, rejected_by_reason, executor_ms) "
        "OVERRIDING SYSTEM VALUE VALUES (%s, 'devices', 1, %s, 0, '{}', 0)",
        (commit_id, rows),
    )
    for kind in ("events", "rejected"):
        connection.execute(
            "INSERT INTO ops.archive_files "
            "(path, kind, hour, rows, total_bytes, file_size, offsets, commit_id) "
            "VALUES (%s, %s, %s, %s, %s, 1, '{}', %s)",
            (f"{kind}/{commit_id}", kind, HOUR, rows, total_bytes, commit_id),
        )
