"""The original simulator's 440 messages through both jobs: every table equals its known content."""

import csv
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from include.provisioner.user_metadata import load_user_metadata

DATA = Path(__file__).parents[2] / "data"
USERS = Path(__file__).parents[3] / "include" / "provisioner" / "user_metadata.csv"


def expected(name: str) -> set[tuple[str, ...]]:
    with (DATA / name).open() as file:
        return {tuple(row.values()) for row in csv.DictReader(file)}


def as_text(rows: list[tuple[Any, ...]]) -> set[tuple[str, ...]]:
    texts = {
        tuple(
            value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            if isinstance(value, datetime)
            else str(value)
            for value in row
        )
        for row in rows
    }
    assert len(texts) == len(rows)
    return texts


def test_original_events(jobs: Any) -> None:
    lines = (DATA / "original_events.jsonl").read_bytes().splitlines()
    for partition in range(4):
        jobs.send(lines[partition::4], partition)
    with jobs.database.connect() as connection:
        load_user_metadata(connection, USERS)

    streamed = jobs.stream()
    assert streamed.returncode == 0, streamed.stdout
    assert as_text(jobs.query("SELECT timestamp, id, value, type FROM bytes")) == expected(
        "original_bytes.csv"
    )
    assert jobs.archive().num_rows == 437
    rejected = jobs.archive("rejected").to_pylist()
    assert [row["reason"] for row in rejected] == ["not_json"] * 3
    assert Counter(row["value"] for row in rejected) == Counter(lines[280:283])

    again = jobs.stream()
    assert again.returncode == 0, again.stdout
    assert as_text(jobs.query("SELECT timestamp, id, value, type FROM bytes")) == expected(
        "original_bytes.csv"
    )

    for hour in ("2020-09-20T12:00:00+00:00", "2020-09-20T15:59:59+02:00", "2020-09-20T12:30:00Z"):
        computed = jobs.batch(hour)
        assert computed.returncode == 0, computed.stdout
    hourly = as_text(jobs.query("SELECT timestamp, id, value, type FROM bytes_hourly"))
    assert hourly == expected("original_bytes_hourly.csv")
    quota = as_text(jobs.query("SELECT email, usage, quota, timestamp FROM user_quota_limit"))
    assert quota == expected("original_user_quota_limit.csv")
