"""The page's figures equal the tables', and what is asked for is bounded."""

import csv
import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from fastapi.testclient import TestClient

from include.local_stack.status import read_hours, read_stream
from metering.archive import REJECTED, REJECTED_FILE_SCHEMA, Storage

from .conftest import HOUR

DAY = timedelta(days=1)
HTML = b"<img src=x onerror=alert(1)>"


def get(client: TestClient, path: str, **parameters: Any) -> Any:
    answer = client.get(f"/antennas/data/{path}", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(client: TestClient, path: str, **parameters: Any) -> str:
    answer = client.get(f"/antennas/data/{path}", params=parameters)
    assert answer.status_code == 422, answer.text
    return str(answer.text)


def insert_totals(connection: psycopg.Connection, table: str, rows: Sequence[tuple[object, ...]]) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(f"INSERT INTO {table} (timestamp, type, id, value) VALUES (%s, %s, %s, %s)", rows)


def insert_stream(connection: psycopg.Connection, state: str = "running") -> None:
    connection.execute(
        "INSERT INTO ops.streams VALUES ('devices', 7, %s, '', 'here', 4711, 'http://127.0.0.1:4040', "
        "now() - interval '1 hour', now() - interval '1 second', now() - interval '3 seconds')",
        (state,),
    )
    connection.execute(
        "INSERT INTO ops.stream_offsets (topic, partition, next_offset, log_end_offset, event_clock) "
        "VALUES ('devices', 0, 100, 130, now() - interval '8 seconds'), ('devices', 1, 50, 50, now())"
    )


def insert_batch(
    connection: psycopg.Connection, rows: int, rejected: dict[str, int], age: str = "3 seconds"
) -> int:
    row = connection.execute(
        "INSERT INTO ops.micro_batches (topic, epoch, committed_at, accepted, rejected, rejected_by_reason, "
        "newest_event_time, executor_ms) VALUES ('devices', 7, now() - %(age)s::interval, %(rows)s, "
        "%(rejected)s, %(reasons)s, now() - %(age)s::interval - interval '2 seconds', 1) RETURNING commit_id",
        {"age": age, "rows": rows, "rejected": sum(rejected.values()), "reasons": json.dumps(rejected)},
    ).fetchone()
    assert row is not None
    return int(row[0])


def insert_file(connection: psycopg.Connection, hour: datetime, rows: int, commit_id: int) -> None:
    connection.execute(
        "INSERT INTO ops.archive_files VALUES (%s, 'events', %s, %s, %s, 1, '{}', %s)",
        (f"file-{hour}-{commit_id}", hour, rows, rows * 10, commit_id),
    )


@pytest.fixture
def two_days(connection: psycopg.Connection, this_hour: datetime) -> psycopg.Connection:
    """Two days of hours and their windows: 3 antennas, 2 apps, 4 users; user 3 is the largest."""
    rows: list[tuple[datetime, str, str, int]] = []
    for number in range(48):
        hour = this_hour - (48 - number) * HOUR
        for minute in (0, 55):
            window = hour + timedelta(minutes=minute)
            used = {f"device-{user}": number * 100 + user * user for user in range(1, 5)}
            whole = sum(used.values())
            rows += [(window, "user_total_bytes", device, value) for device, value in used.items()]
            rows += [(window, "antenna_total_bytes", f"a{n}", whole // 3) for n in range(2)]
            rows.append((window, "antenna_total_bytes", "a2", whole - 2 * (whole // 3)))
            rows += [(window, "app_total_bytes", "SKYPE", whole - 1), (window, "app_total_bytes", "X", 1)]
    totals: dict[tuple[datetime, str, str], int] = {}
    for window, kind, name, value in rows:
        if kind == "user_total_bytes":
            kind, name = "mail_total_bytes", name.replace("device-", "user") + "@x.org"
        key = (window.replace(minute=0), kind, name)
        totals[key] = totals.get(key, 0) + value
    insert_totals(connection, "bytes", rows)
    insert_totals(connection, "bytes_hourly", [(*key, value) for key, value in totals.items()])
    connection.execute(
        "INSERT INTO user_metadata SELECT 'device-' || n, 'name ' || n, 'user' || n || '@x.org', 5000 "
        "FROM generate_series(1, 4) AS n"
    )
    return connection


@pytest.mark.parametrize(
    ("by", "step", "table", "kind"),
    [
        ("antenna", "5min", "bytes", "antenna_total_bytes"),
        ("app", "5min", "bytes", "app_total_bytes"),
        ("user", "5min", "bytes", "user_total_bytes"),
        ("antenna", "hour", "bytes_hourly", "antenna_total_bytes"),
        ("user", "hour", "bytes_hourly", "mail_total_bytes"),
        ("user", "day", "bytes_hourly", "mail_total_bytes"),
    ],
)
def test_usage_equals_the_table(
    viewer: TestClient,
    two_days: psycopg.Connection,
    by: str,
    step: str,
    table: str,
    kind: str,
    this_hour: datetime,
) -> None:
    found = get(
        viewer,
        "usage",
        by=by,
        step=step,
        start=(this_hour - DAY).isoformat(),
        end=this_hour.isoformat(),
        top=2,
    )
    first, end = datetime.fromisoformat(found["first"]), datetime.fromisoformat(found["end"])
    assert first <= this_hour - DAY
    assert end >= this_hour
    bucket = {"5min": "5 minutes", "hour": "1 hour", "day": "1 day"}[step]
    expected = two_days.execute(
        f"SELECT id, date_bin(%s, timestamp, '2000-01-01Z'), sum(value)::BIGINT FROM {table} "
        "WHERE type = %s AND timestamp >= %s AND timestamp < %s GROUP BY 1, 2",
        (bucket, kind, first, end),
    ).fetchall()
    totals: dict[str, int] = {}
    for name, _, value in expected:
        totals[name] = totals.get(name, 0) + value
    largest = sorted(totals, key=lambda name: (-totals[name], name))[:2]
    assert [series["id"] for series in found["series"]] == largest
    assert [series["total"] for series in found["series"]] == [totals[name] for name in largest]
    buckets = [datetime.fromisoformat(text) for text in found["buckets"]]
    for series in found["series"]:
        values = {bucket: value for bucket, value in zip(buckets, series["values"], strict=True) if value}
        assert values == {b: value for name, b, value in expected if name == series["id"] and value}
    assert sum(found["total"]) == sum(totals.values())
    assert sum(found["others"]) == sum(totals.values()) - sum(totals[name] for name in largest)
    assert (found["ids"], found["ranked_by_every"]) == (len(totals), 1)


def test_devices_are_called_by_their_owner(
    viewer: TestClient, two_days: psycopg.Connection, this_hour: datetime
) -> None:
    found = get(
        viewer,
        "usage",
        by="user",
        step="5min",
        start=(this_hour - DAY).isoformat(),
        end=this_hour.isoformat(),
    )
    assert found["series"][0]["id"] == "device-4"
    assert found["series"][0]["label"] == "user4@x.org"


@pytest.mark.parametrize(("step", "table"), [("5min", "bytes"), ("hour", "bytes_hourly")])
@pytest.mark.parametrize("by", ["antenna", "app", "user"])
def test_the_csv_is_the_table(
    viewer: TestClient, two_days: psycopg.Connection, by: str, step: str, table: str, this_hour: datetime
) -> None:
    two_days.execute(f"UPDATE {table} SET id = 'a \"b\", c' WHERE id IN ('a1', 'X', 'device-2')".encode())
    parameters = {
        "by": by,
        "step": step,
        "start": (this_hour - DAY).isoformat(),
        "end": this_hour.isoformat(),
    }
    answer = viewer.get("/antennas/data/usage.csv", params=parameters)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"].startswith(f'attachment; filename="usage-{by}-{step}-')
    rows = [
        (datetime.fromisoformat(row["timestamp"]), row["id"], int(row["value"]), row["type"])
        for row in csv.DictReader(io.StringIO(answer.text))
    ]
    kind = {"antenna": "antenna%", "app": "app%", "user": "%"}[by]
    expected = two_days.execute(
        f"SELECT timestamp, id, value, type FROM {table} WHERE timestamp >= %s AND timestamp < %s "
        "AND type LIKE %s AND (type LIKE 'user%%' OR type LIKE 'mail%%' OR NOT %s) ORDER BY timestamp, id",
        (this_hour - DAY, this_hour, kind, by == "user"),
    ).fetchall()
    assert len(rows) > 40
    assert sorted(rows) == sorted(expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"by": "type"}, "'antenna', 'app' or 'user'"),
        ({"step": "1 hour"}, "'5min', 'hour' or 'day'"),
        ({"start": "2026-11-24T00:00:00"}, "timezone"),
        ({"start": "yesterday"}, "valid datetime"),
        ({"start": "1970-01-01T00:00:00Z"}, "between the years 2000 and 2100"),
        ({"end": "2026-11-23T00:00:00Z"}, "must be before end"),
        ({"end": "2026-11-24T00:00:00Z"}, "must be before end"),
        ({"end": "2026-12-26T00:00:00Z"}, "longer than 31 days"),
        ({"step": "5min", "end": "2026-11-27T00:00:00Z"}, "longer than 2 days"),
        ({"step": "day", "end": "2027-02-25T00:00:00Z"}, "longer than 92 days"),
        ({"top": "0"}, "greater than or equal to 1"),
        ({"top": "21"}, "less than or equal to 20"),
        ({"top": "1; DROP TABLE bytes"}, "valid integer"),
    ],
)
def test_usage_is_bounded(viewer: TestClient, change: dict[str, str], message: str) -> None:
    good = {"by": "app", "step": "hour", "start": "2026-11-24T00:00:00Z", "end": "2026-11-24T02:00:00Z"}
    get(viewer, "usage", **good)
    assert message in refused(viewer, "usage", **{**good, **change})


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("health", {"minutes": 1441}),
        ("health", {"minutes": 9}),
        ("hours", {"hours": 169}),
        ("quotas", {"limit": 201}),
        ("quotas", {"offset": -1}),
        ("quotas", {"search": "x" * 201}),
        ("quotas", {"state": "over"}),
        ("quotas", {"hour": "now"}),
        ("quotas/user", {"email": "x" * 321}),
        ("quotas/user", {}),
        ("quotas/user", {"email": "a@x.org", "hours": 745}),
        ("rejected", {"hours": 169}),
        ("rejected", {"examples": 51}),
    ],
)
def test_everything_else_is_bounded_too(viewer: TestClient, path: str, parameters: dict[str, object]) -> None:
    refused(viewer, path, **parameters)


def test_a_download_of_too_many_rows_is_refused(
    viewer: TestClient, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, this_hour: datetime
) -> None:
    monkeypatch.setattr("antenna_airflow.page.usage.CSV_ROWS", 99)
    insert_totals(
        connection, "bytes_hourly", [(this_hour - DAY, "app_total_bytes", f"app{n}", 1) for n in range(100)]
    )
    parameters = {
        "by": "app",
        "step": "hour",
        "start": (this_hour - DAY).isoformat(),
        "end": (this_hour - DAY + HOUR).isoformat(),
    }
    assert "about 100 rows, and 99 are the limit" in refused(viewer, "usage.csv", **parameters)


def test_many_ids_are_ranked_by_some_of_the_windows(
    viewer: TestClient, two_days: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, this_hour: datetime
) -> None:
    monkeypatch.setattr("antenna_airflow.page.usage.RANKED_ROWS", 24)
    found = get(
        viewer,
        "usage",
        by="user",
        step="hour",
        start=(this_hour - DAY).isoformat(),
        end=this_hour.isoformat(),
    )
    assert found["ranked_by_every"] == 4
    assert found["ids"] == 4
    # The figures themselves are whole.
    assert sum(found["total"]) == sum(series["total"] for series in found["series"])


@pytest.mark.parametrize("minutes", range(0, 60, 5))
def test_what_is_ranked_has_figures(
    viewer: TestClient,
    connection: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    this_hour: datetime,
    minutes: int,
) -> None:
    """Wherever in the range the only window with figures lies, its ids are found."""
    monkeypatch.setattr("antenna_airflow.page.usage.RANKED_ROWS", 4)
    at = this_hour - HOUR + timedelta(minutes=minutes)
    connection.execute(
        "INSERT INTO bytes SELECT %s, 'device-' || n, n, 'user_total_bytes' FROM generate_series(1, 4) AS n",
        (at,),
    )
    connection.execute("INSERT INTO bytes VALUES (%s, 'SKYPE', 10, 'app_total_bytes')", (at,))
    start, end = (this_hour - HOUR).isoformat(), this_hour.isoformat()
    found = get(viewer, "usage", by="user", step="5min", start=start, end=end)
    assert [series["total"] for series in found["series"]] == [4, 3, 2, 1]
    assert (found["ids"], found["ranked_by_every"]) == (4, 1)


def test_an_empty_database(viewer: TestClient, this_hour: datetime) -> None:
    health = get(viewer, "health")
    assert (health["word"], health["figures"]) == ("stopped", None)
    assert "turn on the DAG antenna_streaming" in health["advice"]
    usage = get(
        viewer, "usage", by="app", step="5min", start=(this_hour - DAY).isoformat(), end=this_hour.isoformat()
    )
    assert (usage["series"], sum(usage["total"]), len(usage["buckets"])) == ([], 0, 288)
    assert get(viewer, "quotas")["users"] == []
    assert get(viewer, "quotas/user", email="a@x.org")["quota"] is None
    assert {hour["state"] for hour in get(viewer, "hours")["hours"]} == {"open"}
    assert get(viewer, "rejected")["examples"] == []


def test_health_is_what_make_status_says(viewer: TestClient, connection: psycopg.Connection) -> None:
    insert_stream(connection)
    insert_batch(connection, 540, {"not_json": 60})
    insert_batch(connection, 1_000, {}, "2 hours")
    connection.execute("INSERT INTO ops.stream_lag VALUES ('devices', date_trunc('minute', now()), 1234)")
    found = get(viewer, "health", minutes=180)
    status = read_stream(connection)
    assert status is not None
    figures = found["figures"]
    assert (found["word"], found["healthy"]) == ("running", True)
    assert (figures["lag_records"], figures["records_per_second"]) == (status.lag, status.records_per_second)
    assert (status.lag, status.records_per_second) == (30, 20)
    assert (figures["accepted_last_hour"], figures["rejected_last_hour"]) == (540, 60)
    assert figures["lag_seconds"] == pytest.approx(8, abs=2)
    assert figures["freshness_seconds"] == pytest.approx(2, abs=0.1)
    assert len(found["minutes"]) == 180
    assert found["minutes"][-1]["lag"] == 1234
    assert found["minutes"][0]["lag"] is None
    assert sum(minute["records"] for minute in found["minutes"]) == 1_600


def test_a_stopped_stream_says_what_to_do(viewer: TestClient, connection: psycopg.Connection) -> None:
    insert_stream(connection, "failed")
    found = get(viewer, "health")
    assert (found["word"], found["healthy"]) == ("stopped", False)
    assert "antenna_streaming" in found["advice"]


def test_hours_are_what_make_status_says(
    viewer: TestClient, connection: psycopg.Connection, this_hour: datetime
) -> None:
    insert_stream(connection)
    connection.execute("UPDATE ops.stream_offsets SET event_clock = now(), caught_up_at = now()")
    first = insert_batch(connection, 30, {})
    second = insert_batch(connection, 5, {})
    sealed = this_hour - 2 * HOUR
    insert_file(connection, sealed, 30, first)
    insert_file(connection, sealed, 5, second)
    insert_file(connection, sealed - HOUR, 7, first)
    insert_file(connection, sealed - 2 * HOUR, 9, first)
    for hour in (sealed, sealed - HOUR):
        connection.execute(
            "INSERT INTO ops.hours (hour, covered_commit_id, events, total_bytes) VALUES (%s, %s, 1, 1)",
            (hour, first),
        )
    connection.execute("INSERT INTO user_quota_limit VALUES ('a@x.org', 2, 1, %s)", (sealed,))
    found = get(viewer, "hours")
    assert len(found["hours"]) == 48
    by_hour = {datetime.fromisoformat(hour["hour"]): hour for hour in found["hours"]}
    states = {
        hour: (by_hour[hour]["state"], by_hour[hour]["events"], by_hour[hour]["late_events"])
        for hour in (sealed, sealed - HOUR, sealed - 2 * HOUR)
    }
    assert states == {
        sealed: ("late events, will be computed again", 35, 5),
        sealed - HOUR: ("computed", 7, 0),
        sealed - 2 * HOUR: ("sealed, not computed", 9, 0),
    }
    assert by_hour[sealed]["users_over_quota"] == 1
    assert by_hour[sealed]["total_bytes"] == 350
    assert by_hour[this_hour]["state"] == "open"
    _, sealed_before = read_hours(connection)
    assert datetime.fromisoformat(found["sealed_before"]) == sealed_before


@pytest.fixture
def breaches(connection: psycopg.Connection, this_hour: datetime) -> psycopg.Connection:
    """This hour so far and the last one: ana (two devices) over quota, ben near, cyd within."""
    connection.execute(
        "INSERT INTO user_metadata VALUES ('1', 'ana', 'ana@x.org', 60), ('2', 'ana', 'ana@x.org', 40), "
        "('3', 'ben', 'ben@x.org', 100), ('4', 'cyd', 'cyd_%@x.org', 100), ('5', 'nil', 'nil@x.org', 0)"
    )
    for window in (this_hour, this_hour + timedelta(minutes=5)):
        insert_totals(
            connection,
            "bytes",
            [
                (window, "user_total_bytes", device, value)
                for device, value in (("1", 30), ("2", 21), ("3", 40), ("4", 39), ("unknown device", 999))
            ],
        )
    last = this_hour - HOUR
    mails = (("ana@x.org", 101), ("ben@x.org", 100), ("cyd_%@x.org", 79), ("unknown", 999))
    insert_totals(connection, "bytes_hourly", [(last, "mail_total_bytes", *mail) for mail in mails])
    connection.execute("INSERT INTO user_quota_limit VALUES ('ana@x.org', 101, 90, %s)", (last,))
    return connection


def test_quotas_of_this_hour_so_far(viewer: TestClient, breaches: psycopg.Connection) -> None:
    found = get(viewer, "quotas")
    assert (found["so_far"], found["passed"], found["near"], found["found"]) == (True, 1, 1, 4)
    assert [(user["email"], user["usage"], user["quota"], user["state"]) for user in found["users"]] == [
        ("nil@x.org", 0, 0, "within"),
        ("ana@x.org", 102, 100, "passed"),
        ("ben@x.org", 80, 100, "near"),
        ("cyd_%@x.org", 78, 100, "within"),
    ]


def test_quotas_of_a_computed_hour(
    viewer: TestClient, breaches: psycopg.Connection, this_hour: datetime
) -> None:
    found = get(viewer, "quotas", hour=(this_hour - timedelta(minutes=30)).isoformat())
    assert (found["so_far"], found["passed"], found["near"]) == (False, 1, 1)
    assert [(user["email"], user["usage"], user["quota"], user["state"]) for user in found["users"]] == [
        ("ana@x.org", 101, 90, "passed"),
        ("ben@x.org", 100, 100, "near"),
        ("cyd_%@x.org", 79, 100, "within"),
    ]


@pytest.mark.parametrize(
    ("parameters", "emails", "found"),
    [
        ({"search": "BEN"}, ["ben@x.org"], 1),
        ({"search": "_%"}, ["cyd_%@x.org"], 1),
        ({"search": "'; DROP TABLE bytes; --"}, [], 0),
        ({"state": "passed"}, ["ana@x.org"], 1),
        ({"limit": 1, "offset": 1}, ["ana@x.org"], 4),
    ],
)
def test_users_are_found(
    viewer: TestClient,
    breaches: psycopg.Connection,
    parameters: dict[str, object],
    emails: list[str],
    found: int,
) -> None:
    answer = get(viewer, "quotas", **parameters)
    assert [user["email"] for user in answer["users"]] == emails
    assert answer["found"] == found
    # The counts are of the hour, whatever was searched for.
    assert (answer["passed"], answer["near"]) == (1, 1)


def test_one_users_history(viewer: TestClient, breaches: psycopg.Connection, this_hour: datetime) -> None:
    found = get(viewer, "quotas/user", email="ana@x.org", hours=3)
    assert found["quota"] == 100
    hours = [(datetime.fromisoformat(h["hour"]), h["usage"], h["passed_quota"]) for h in found["hours"]]
    assert hours == [
        (this_hour - 3 * HOUR, None, None),
        (this_hour - 2 * HOUR, None, None),
        (this_hour - HOUR, 101, 90),
    ]


def test_rejected_records_by_reason_and_the_newest_of_them(
    viewer: TestClient,
    connection: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    this_hour: datetime,
) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_ANTENNA_STORAGE", str(tmp_path))
    insert_stream(connection)
    storage = Storage(str(tmp_path))
    now = datetime.now(UTC)
    for number, (rejected, age) in enumerate(
        [
            ({"not_json": 1, "negative": 2}, "2 hours"),
            ({"not_json": 4}, "5 seconds"),
            ({"negative": 9}, "25 hours"),
        ]
    ):
        commit_id = insert_batch(connection, 1, rejected, age)
        if age == "25 hours":
            continue
        records = [
            {
                "topic": "devices",
                "partition": 1,
                "offset": 10 * number + n,
                "kafka_timestamp": now,
                "reason": "not_json",
                "detail": "at byte 0",
                "value": HTML if number else b"\xff" + 600 * b"x",
            }
            for n in range(3)
        ]
        table = pa.Table.from_pylist(records, schema=REJECTED_FILE_SCHEMA)
        file = storage.stage([table], REJECTED, int(this_hour.timestamp()), 7, {1: (0, 3)}, 0)
        storage.publish([file])
        connection.execute(
            "INSERT INTO ops.archive_files VALUES (%s, 'rejected', %s, 3, 0, 1, '{}', %s)",
            (file.path, this_hour, commit_id),
        )
    found = get(viewer, "rejected", hours=24, examples=4)
    assert {reason: sum(counts) for reason, counts in found["reasons"].items()} == {
        "not_json": 5,
        "negative": 2,
    }
    assert all(len(counts) == len(found["buckets"]) for counts in found["reasons"].values())
    assert found["examples_problem"] is None
    assert [example["offset"] for example in found["examples"]] == [12, 11, 10, 2]
    assert found["examples"][0]["value"] == HTML.decode()
    assert found["examples"][0]["cut"] is False
    assert found["examples"][3]["value"] == "\ufffd" + 499 * "x"
    assert found["examples"][3]["cut"] is True
    # A payload stays text: the answer is JSON, and the browser is told not to guess.
    answer = viewer.get("/antennas/data/rejected")
    assert answer.headers["content-type"] == "application/json"


def test_examples_that_cannot_be_read_do_not_hide_the_counts(
    viewer: TestClient,
    connection: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    this_hour: datetime,
) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_ANTENNA_STORAGE", str(tmp_path))
    insert_stream(connection)
    commit_id = insert_batch(connection, 1, {"not_json": 1})
    connection.execute(
        "INSERT INTO ops.archive_files VALUES ('gone.parquet', 'rejected', %s, 3, 0, 1, '{}', %s)",
        (this_hour, commit_id),
    )
    found = get(viewer, "rejected")
    assert "gone.parquet" in found["examples_problem"]
    assert sum(found["reasons"]["not_json"]) == 1
