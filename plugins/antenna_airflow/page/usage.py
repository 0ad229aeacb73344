"""Bytes over time, by antenna, app or user, and the same rows as CSV."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Self

import psycopg
from fastapi import APIRouter, Depends, HTTPException, Query
from fastapi.responses import StreamingResponse

from antenna_airflow.page.database import fetch, reading, stream_rows
from antenna_airflow.page.models import By, Series, Step, Usage
from antenna_airflow.page.ranges import Instant, check_range, floor

router = APIRouter()

# Step -> window of the table, bucket of the chart, longest range.
STEPS: dict[Step, tuple[timedelta, timedelta, timedelta]] = {
    "5min": (timedelta(minutes=5), timedelta(minutes=5), timedelta(days=2)),
    "hour": (timedelta(hours=1), timedelta(hours=1), timedelta(days=31)),
    "day": (timedelta(hours=1), timedelta(days=1), timedelta(days=92)),
}
# The largest ids are found by as many rows at most.
RANKED_ROWS = 50_000
CSV_ROWS = 1_000_000
WIDTH_SAMPLES = 8


@dataclass(frozen=True)
class Selection:
    """What the reader chose, checked: `first` and `last` are windows of the table, both included."""

    by: By
    step: Step
    first: datetime
    last: datetime

    @classmethod
    def chosen(cls, by: By, step: Step, start: Instant, end: Instant) -> Self:
        """The windows that lie in [start, end), widened to whole buckets; HTTPException 422 if too long."""
        window, bucket, longest = STEPS[step]
        hint = "" if step == "day" else " or a coarser step"
        check_range(start, end, longest, hint)
        first = floor(start, bucket)
        last = floor(end - timedelta(microseconds=1), bucket) + bucket - window
        return cls(by, step, first, last)

    @property
    def window(self) -> timedelta:
        return STEPS[self.step][0]

    @property
    def bucket(self) -> timedelta:
        return STEPS[self.step][1]

    @property
    def windows(self) -> int:
        return (self.last - self.first) // self.window + 1

    def parameters(self) -> dict[str, object]:
        """What the queries of usage take."""
        user_type = "user_total_bytes" if self.step == "5min" else "mail_total_bytes"
        types = {"antenna": "antenna_total_bytes", "app": "app_total_bytes", "user": user_type}
        return {
            "first": self.first,
            "last": self.last,
            "window_seconds": int(self.window.total_seconds()),
            "type": types[self.by],
        }


Chosen = Annotated[Selection, Depends(Selection.chosen)]


@router.get("/data/usage")
def usage(selection: Chosen, top: Annotated[int, Query(ge=1, le=20)] = 8) -> Usage:
    """The `top` largest ids over time."""
    with reading() as connection:
        rows = fetch(
            connection,
            "usage",
            **selection.parameters(),
            bucket_seconds=int(selection.bucket.total_seconds()),
            width=_width(connection, selection),
            ranked_rows=RANKED_ROWS,
            top=top,
        )
        labels = _labels(connection, selection, rows)
    return _arranged(selection, rows, labels)


@router.get("/data/usage.csv")
def usage_csv(selection: Chosen) -> StreamingResponse:
    """The rows of `bytes` (5 minutes) or `bytes_hourly` (hour, day) in the range, as they stand there.

    Columns timestamp (ISO 8601, UTC), id, value (bytes), type. HTTPException 422 for too many rows.
    """
    # Before the answer begins, so that a problem is told as one.
    with reading() as connection:
        rows = _width(connection, selection) * selection.windows
    if rows > CSV_ROWS:
        raise HTTPException(
            422, f"about {rows:,} rows, and {CSV_ROWS:,} are the limit; choose a shorter range"
        )
    name = f"usage-{selection.by}-{selection.step}-{selection.first:%Y%m%dT%H%MZ}.csv"
    return StreamingResponse(
        _csv_lines(selection),
        media_type="text/csv",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _csv_lines(selection: Selection) -> Iterator[str]:
    with reading() as connection:
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(("timestamp", "id", "value", "type"))
        for timestamp, *others in stream_rows(connection, "usage_rows", **selection.parameters()):
            writer.writerow((f"{timestamp:%Y-%m-%dT%H:%M:%SZ}", *others))
            if buffer.tell() > 64_000:
                yield buffer.getvalue()
                buffer.seek(0)
                buffer.truncate()
        yield buffer.getvalue()


def _width(connection: psycopg.Connection, selection: Selection) -> int:
    """About how many ids a window of the range holds."""
    parameters = selection.parameters()
    stride = max(1, selection.windows // WIDTH_SAMPLES)
    # The newest too: ids become more over time, and the very newest may not be computed yet.
    newest = range(max(0, selection.windows - 3), selection.windows)
    numbers = {*range(0, selection.windows, stride), *newest}
    (row,) = fetch(
        connection,
        "usage_width",
        windows=[selection.first + number * selection.window for number in numbers],
        window_seconds=parameters["window_seconds"],
        type=parameters["type"],
    )
    return int(row["width"])


def _labels(
    connection: psycopg.Connection, selection: Selection, rows: list[dict[str, Any]]
) -> dict[str, str]:
    """What people call the ids: the owner of a device. Mail addresses, antennas and apps are names."""
    if selection.by != "user" or selection.step != "5min":
        return {}
    ids = list({row["id"] for row in rows if row["id"] is not None})
    return {row["id"]: row["label"] for row in fetch(connection, "user_names", ids=ids)}


def _arranged(selection: Selection, rows: list[dict[str, Any]], labels: dict[str, str]) -> Usage:
    end = selection.last + selection.window
    count = (end - selection.first) // selection.bucket
    buckets = [selection.first + number * selection.bucket for number in range(count)]
    places = {bucket: place for place, bucket in enumerate(buckets)}
    by_id: dict[str | None, list[int]] = {None: [0] * count}
    for row in rows:
        by_id.setdefault(row["id"], [0] * count)[places[row["bucket"]]] = row["value"]
    total = by_id.pop(None)
    series = [
        Series(id=name, label=labels.get(name, name), values=values, total=sum(values))
        for name, values in by_id.items()
        if name is not None
    ]
    series.sort(key=lambda one: (-one.total, one.id))
    shown = [sum(values) for values in zip(*(one.values for one in series), strict=True)] or [0] * count
    return Usage(
        by=selection.by,
        step=selection.step,
        first=selection.first,
        end=end,
        buckets=buckets,
        series=series,
        others=[whole - part for whole, part in zip(total, shown, strict=True)],
        total=total,
        ids=rows[0]["ids"] if rows else 0,
        ranked_by_every=rows[0]["stride"] if rows else 1,
    )
