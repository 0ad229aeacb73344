"""The original simulator's 440 messages through Kafka, the stream and Airflow's batch: known to the byte."""

import csv
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from include.local_stack.settings import PROJECT_ROOT

from .drills import RunningStack, wait_until_consumed

DATA = Path(__file__).parents[1] / "data"
EVENTS = DATA / "original_events.jsonl"
DAY = "timestamp >= '2020-09-20Z' AND timestamp < '2020-09-21Z'"
BROKEN_LINES = slice(280, 283)


@pytest.fixture(scope="module")
def metered(stack: RunningStack) -> RunningStack:
    """The messages are sent, consumed, and every hour of theirs is computed."""
    command = [sys.executable, "-m", "include.simulator", "--file", str(EVENTS)]
    servers = stack.env["ANTENNA_KAFKA_BOOTSTRAP_SERVERS"]
    subprocess.run([*command, "--bootstrap-servers", servers], cwd=PROJECT_ROOT, check=True)
    wait_until_consumed(stack)
    runs = [
        stack.airflow.trigger("antenna_batch", {"timestamp": hour})
        for hour in sorted({row["timestamp"] for row in rows_of_file("original_bytes_hourly.csv")})
    ]
    for run_id in runs:
        state = stack.airflow.wait_for_run("antenna_batch", run_id)
        assert state == "success", stack.airflow.failure("antenna_batch", run_id)
    return stack


def rows_of_file(name: str) -> list[dict[str, str]]:
    with (DATA / name).open(newline="") as file:
        return list(csv.DictReader(file))


def rows_of_table(stack: RunningStack, table: str, columns: list[str]) -> list[dict[str, str]]:
    with stack.connect() as connection:
        query = f"SELECT {', '.join(columns)} FROM public.{table} WHERE {DAY}"
        rows = connection.execute(query.encode()).fetchall()
    return [dict(zip(columns, map(as_text, row), strict=True)) for row in rows]


def as_text(value: Any) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(value, datetime) else str(value)


def in_any_order(rows: list[dict[str, str]]) -> Counter[tuple[tuple[str, str], ...]]:
    return Counter(tuple(sorted(row.items())) for row in rows)


@pytest.mark.parametrize("table", ["bytes", "bytes_hourly", "user_quota_limit"])
def test_each_table_equals_its_known_content(metered: RunningStack, table: str) -> None:
    expected = rows_of_file(f"original_{table}.csv")
    found = rows_of_table(metered, table, list(expected[0]))
    assert in_any_order(found) == in_any_order(expected)


def test_the_archive_holds_each_valid_event_once(metered: RunningStack) -> None:
    archive = metered.storage / "events" / "year=2020" / "month=9" / "day=20"
    events = ds.dataset(archive, format="parquet", partitioning=None).to_table()
    assert events.num_rows == 437
    keys = Counter(zip(events["partition"].to_pylist(), events["offset"].to_pylist(), strict=True))
    assert set(keys.values()) == {1}
    assert events.schema.field("timestamp").type == pa.timestamp("us", tz="UTC")


def test_the_broken_records_are_kept_with_their_reasons(metered: RunningStack) -> None:
    files = (metered.storage / "rejected").rglob("*.parquet")
    rejected = [row for file in files for row in pq.read_table(file, partitioning=None).to_pylist()]
    broken = EVENTS.read_bytes().splitlines()[BROKEN_LINES]
    kept = [row for row in rejected if row["value"] in broken]
    assert Counter(row["value"] for row in kept) == Counter(broken)
    assert {row["reason"] for row in kept} == {"not_json"}
    assert {row["topic"] for row in kept} == {"devices"}
    assert all(row["offset"] >= 0 and row["kafka_timestamp"] is not None for row in kept)
