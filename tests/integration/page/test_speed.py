"""The page answers at once with a year of hours, a day of windows of 10,000 users, and a week of commits."""

import time
from datetime import datetime, timedelta

import psycopg
import pytest
from fastapi.testclient import TestClient

from antenna_airflow.page.database import PAGE_QUERIES, reading

from .conftest import HOUR
from .test_data import DAY, insert_stream

LIMIT_SECONDS = 0.3
TRIES = 20
YEAR = timedelta(days=365)


@pytest.fixture
def a_year(connection: psycopg.Connection, this_hour: datetime) -> psycopg.Connection:
    """20 users, 5 antennas and 5 apps for a year of hours; 10,000 users in the last 24 hours and this one."""
    insert_stream(connection)
    year = {
        "first": this_hour - YEAR,
        "day": this_hour - DAY,
        "last": this_hour - HOUR,
        "hour": this_hour,
        "next_window": this_hour + timedelta(minutes=5),
        "end": this_hour + timedelta(minutes=55),
    }
    connection.execute(
        """
        INSERT INTO user_metadata
        SELECT 'device-' || n, 'n', 'user' || n || '@x.org', 500000 FROM generate_series(1, 10000) AS n;
        """
    )
    for table, first, step, kind, name in (
        ("bytes_hourly", "first", "1 hour", "mail_total_bytes", "'user' || n || '@x.org'"),
        ("bytes", "day", "5 minutes", "user_total_bytes", "'device-' || n"),
    ):
        for series, ids, count in (
            (kind, name, 20),
            ("antenna_total_bytes", "'a' || n", 5),
            ("app_total_bytes", "'x' || n", 5),
        ):
            connection.execute(
                f"INSERT INTO {table} SELECT t, {ids}, 1000 * n, '{series}' "
                f"FROM generate_series(%({first})s, %(end)s, interval '{step}') AS t, "
                f"generate_series(1, {count}) AS n".encode(),
                year,
            )
    # The other 9,980 users: 24 hours; windows of the last day for a tenth of them, and of this hour for all.
    connection.execute(
        "INSERT INTO bytes_hourly SELECT t, 'user' || n || '@x.org', n, 'mail_total_bytes' "
        "FROM generate_series(%(day)s, %(last)s, interval '1 hour') AS t, generate_series(21, 10000) AS n",
        year,
    )
    for start, end, users in (("day", "hour", 1_000), ("next_window", "end", 10_000)):
        connection.execute(
            f"INSERT INTO bytes SELECT t, 'device-' || n, n, 'user_total_bytes' "
            f"FROM generate_series(%({start})s, %({end})s, interval '5 minutes') AS t, "
            f"generate_series(21, {users}) AS n".encode(),
            year,
        )
    connection.execute(
        "INSERT INTO user_quota_limit SELECT email, 600000, 500000, t FROM user_metadata, "
        "generate_series(%(first)s, %(last)s, interval '1 hour') AS t WHERE id IN ('device-1', 'device-2')",
        year,
    )
    connection.execute(
        "INSERT INTO ops.micro_batches (topic, epoch, committed_at, accepted, rejected, rejected_by_reason, "
        "newest_event_time, executor_ms) SELECT 'devices', 7, t, 500, 3, "
        """'{"not_json": 1, "negative": 2}', t, 1 """
        "FROM generate_series(now() - interval '7 days', now(), interval '5 seconds') AS t"
    )
    connection.execute(
        "INSERT INTO ops.archive_files SELECT 'file-' || commit_id, 'events', "
        "date_trunc('hour', committed_at), 500, 5000, 1, '{}', commit_id FROM ops.micro_batches"
    )
    connection.execute(
        "INSERT INTO ops.hours SELECT t, 100000, 1, 1 "
        "FROM generate_series(%(first)s, %(last)s, interval '1 hour') AS t",
        year,
    )
    connection.execute(
        "INSERT INTO ops.stream_lag SELECT 'devices', t, 500 FROM "
        "generate_series(date_trunc('minute', now()) - interval '1 day', now(), interval '1 minute') AS t"
    )
    connection.execute("ANALYZE")
    return connection


def requests(now: datetime) -> dict[str, dict[str, object]]:
    """What the page asks, at its most."""
    usage = {"end": now.isoformat(), "top": 8}
    return {
        "health": {"minutes": 1_440},
        "hours": {"hours": 48},
        "quotas": {},
        "quotas ": {"hour": (now - 5 * HOUR).isoformat(), "search": "99"},
        "quotas/user": {"email": "user1@x.org", "hours": 744},
        "rejected": {"hours": 168},
        **{
            f"usage{' ' * place}": {**usage, "by": by, "step": step, "start": (now - length).isoformat()}
            for place, (by, step, length) in enumerate(
                (by, step, length)
                for by in ("antenna", "app", "user")
                for step, length in (("5min", HOUR), ("5min", DAY), ("hour", 31 * DAY), ("day", 92 * DAY))
            )
        },
    }


def test_every_answer_within_300_ms(
    viewer: TestClient, a_year: psycopg.Connection, this_hour: datetime
) -> None:
    seconds: dict[str, float] = {}
    for path, parameters in requests(this_hour + timedelta(minutes=30)).items():
        best = float("inf")
        for _ in range(TRIES):
            started = time.perf_counter()
            answer = viewer.get(f"/antennas/data/{path.strip()}", params=parameters)
            best = min(best, time.perf_counter() - started)
            assert answer.status_code == 200, answer.text
            # What others do on this machine is not the page's: once quick enough is enough.
            if best <= LIMIT_SECONDS:
                break
        seconds[f"{path.strip()} {parameters}"] = best
    print("\n".join(f"{1000 * value:6.0f} ms  {name}" for name, value in seconds.items()))
    assert {name: value for name, value in seconds.items() if value > LIMIT_SECONDS} == {}


PLANS: dict[str, dict[str, object]] = {
    "usage": {
        "type": "mail_total_bytes",
        "window_seconds": 3600,
        "bucket_seconds": 3600,
        "width": 10_000,
        "ranked_rows": 50_000,
        "top": 8,
    },
    "usage_rows": {"type": "mail_total_bytes", "window_seconds": 3600},
    "quota_history": {"email": "user1@x.org"},
    "quotas_so_far": {"near_percent": 80, "search": "", "state": None, "limit": 25, "offset": 0},
    "quotas_of_hour": {"near_percent": 80, "search": "", "state": None, "limit": 25, "offset": 0},
    "hours": {},
    "rejected": {"bucket_seconds": 300},
    "rejected_files": {"limit": 20},
    "stream_minutes": {"topic": "devices", "minutes": 180},
    "stream_now": {"topic": "devices"},
}


def test_queries_use_indexes(a_year: psycopg.Connection, this_hour: datetime) -> None:
    ranges = {"first": this_hour - 92 * DAY, "last": this_hour - HOUR, "hour": this_hour}
    with reading() as page:
        for query, parameters in PLANS.items():
            text = b"EXPLAIN " + (PAGE_QUERIES / f"{query}.sql").read_bytes()
            plan = "\n".join(line for (line,) in page.execute(text, {**ranges, **parameters}).fetchall())
            for table in ("bytes", "bytes_hourly", "user_quota_limit", "micro_batches", "archive_files"):
                assert f"Seq Scan on {table} " not in plan, f"{query}:\n{plan}"
