"""Rejected records: how many by reason over time, and what the newest ones look like."""

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq
from airflow.sdk import Variable
from fastapi import APIRouter, Query

from antenna_airflow.page.database import fetch, reading
from antenna_airflow.page.models import Rejected, RejectedExample
from antenna_airflow.page.ranges import floor
from metering.archive import Storage, StorageError

router = APIRouter()

# A chart of about as many bars, whatever the range.
BUCKETS = 72
SHOWN_BYTES = 500
# The newest files may hold one record each.
FILES = 20


@router.get("/data/rejected")
def rejected(
    hours: Annotated[int, Query(ge=1, le=168)] = 24, examples: Annotated[int, Query(ge=0, le=50)] = 20
) -> Rejected:
    """The last `hours`, and the newest `examples`, which may be older."""
    bucket = max(timedelta(minutes=5), timedelta(hours=hours) / BUCKETS)
    now = datetime.now(UTC)
    first = floor(now - timedelta(hours=hours), bucket)
    with reading() as connection:
        rows = fetch(
            connection, "rejected", first=first, last=now, bucket_seconds=int(bucket.total_seconds())
        )
        files = [row["path"] for row in fetch(connection, "rejected_files", limit=FILES)]
    count = (now - first) // bucket + 1
    buckets = [first + number * bucket for number in range(count)]
    reasons: dict[str, list[int]] = {}
    for row in rows:
        place = (row["bucket"] - first) // bucket
        reasons.setdefault(row["reason"], [0] * count)[place] = row["records"]
    problem = None
    found: list[RejectedExample] = []
    try:
        found = list(itertools.islice(_examples(files), examples))
    except (StorageError, OSError, pa.ArrowException, KeyError) as error:
        problem = f"The examples cannot be read here: {error}"
    return Rejected(buckets=buckets, reasons=reasons, examples=found, examples_problem=problem)


def _examples(files: list[str]) -> Iterator[RejectedExample]:
    """The records of the files, the newest of each first. Raises what cannot be read."""
    if not files:
        return
    storage = Storage(Variable.get("antenna_storage"))
    for path in files:
        table = pq.read_table(storage.full(path), filesystem=storage.filesystem, partitioning=None)
        yield from map(_example, reversed(table.slice(max(0, table.num_rows - 50)).to_pylist()))


def _example(record: dict[str, Any]) -> RejectedExample:
    value: bytes = record.pop("value") or b""
    text = value[:SHOWN_BYTES].decode(errors="replace")
    return RejectedExample(**record, value=text, cut=len(value) > SHOWN_BYTES)
