"""Batch layer's transformations: the files of one hour to its totals, and who passed the quota."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import polars as pl
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as sf

from metering.archive import EVENTS, Storage, StorageError
from metering.events import ACCEPTED_SCHEMA
from metering.hours import HOUR_SECONDS
from metering.totals import totals

# A file's bytes may pass BIGINT, so they travel as text.
FILES_SCHEMA: Final = pa.schema(
    [("path", pa.string()), ("rows", pa.int64()), ("total_bytes", pa.string()), ("sha256", pa.string())]
)
USERS_SCHEMA: Final = pa.schema([("id", pa.string()), ("email", pa.string()), ("quota", pa.int64())])
HOURLY_TOTALS_SCHEMA: Final = "window long, type string, id string, value long"
HOURLY_TOTALS_ARROW: Final = pa.schema(
    [("window", pa.int64()), ("type", pa.string()), ("id", pa.string()), ("value", pa.int64())]
)
# Small files are totalled together, up to so many events in memory.
EVENTS_PER_TOTAL: Final = 1_000_000
UNKNOWN_USER: Final = "unknown"
USER_TYPE: Final = "user_total_bytes"
MAIL_TYPE: Final = "mail_total_bytes"


def files_table(files: Sequence[tuple[str, int, int, str | None]]) -> pa.Table:
    """Rows of the manifest (path, rows, total_bytes, sha256) as a table of ``FILES_SCHEMA``."""
    entries = [(path, rows, str(total), sha256) for path, rows, total, sha256 in files]
    return _table(entries, FILES_SCHEMA)


def users_table(users: Sequence[tuple[str, str | None, int | None]]) -> pa.Table:
    """Rows of ``user_metadata`` (id, email, quota) as a table of ``USERS_SCHEMA``."""
    return _table(users, USERS_SCHEMA)


def _table(rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema)


def hour_totals(files: DataFrame, storage_path: str) -> DataFrame:
    """Total the events of an hour's archive files.

    Args:
        files: ``FILES_SCHEMA``, rows of the manifest.
        storage_path: what the paths are relative to.

    Returns:
        ``window`` (start of the hour, epoch seconds), ``type`` (antenna, user, app), ``id``, ``value``.

    A file that cannot be read, or that does not hold what the manifest says, fails the job by its name.
    """
    partials = files.mapInArrow(file_totals(storage_path), HOURLY_TOTALS_SCHEMA)
    return partials.groupBy("window", "type", "id").agg(sf.sum("value").alias("value"))


def mail_totals(device_totals: DataFrame, users: DataFrame) -> DataFrame:
    """Totals per user email; devices that no user owns stand under ``unknown``.

    Args:
        device_totals: ``window``, ``type``, ``id`` (device), ``value``.
        users: ``USERS_SCHEMA``.

    Returns:
        ``window``, ``type`` (``mail_total_bytes``), ``id`` (email), ``value``.
    """
    email = sf.coalesce(users["email"], sf.lit(UNKNOWN_USER))
    return (
        device_totals.join(sf.broadcast(users), on="id", how="left")
        .groupBy("window", email.alias("email"))
        .agg(sf.sum("value").alias("value"))
        .select("window", sf.lit(MAIL_TYPE).alias("type"), sf.col("email").alias("id"), "value")
    )


def quota_breaches(mails: DataFrame, users: DataFrame) -> DataFrame:
    """The users whose usage in the hour is strictly greater than the sum of their devices' quotas.

    Args:
        mails: the result of ``mail_totals``.
        users: ``USERS_SCHEMA``.

    Returns:
        ``email``, ``usage`` (bytes), ``quota`` (bytes), ``window``.
    """
    quotas = users.where(_is_owned(users)).groupBy("email").agg(sf.sum("quota").alias("quota"))
    return (
        mails.join(sf.broadcast(quotas), on=mails["id"] == quotas["email"], how="inner")
        .where(sf.col("value") > sf.col("quota"))
        .select("email", sf.col("value").alias("usage"), "quota", "window")
    )


def _is_owned(users: DataFrame) -> Column:
    return users["email"].isNotNull() & users["quota"].isNotNull()


def file_totals(storage_path: str) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function for ``mapInArrow`` over ``FILES_SCHEMA``; yields partial ``HOURLY_TOTALS_SCHEMA``."""

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        storage = Storage(storage_path)
        waiting: list[pl.DataFrame] = []
        for batch in batches:
            for file in batch.to_pylist():
                for events in _read_file(storage, file):
                    waiting.append(events)
                    if sum(events.height for events in waiting) >= EVENTS_PER_TOTAL:
                        yield from _total_batches(waiting)
                        waiting = []
        if waiting:
            yield from _total_batches(waiting)

    return run


def _total_batches(parts: list[pl.DataFrame]) -> list[pa.RecordBatch]:
    table = totals(pl.concat(parts), HOUR_SECONDS).to_arrow()
    # Polars hands out string views, which Spark does not take.
    batches: list[pa.RecordBatch] = table.cast(HOURLY_TOTALS_ARROW).to_batches()
    return batches


def _read_file(storage: Storage, file: dict[str, Any]) -> Iterator[pl.DataFrame]:
    """The events of a file (a row of ``FILES_SCHEMA``), with the columns of ``ACCEPTED_SCHEMA`` less
    ``position``, part by part."""
    expected = (file["rows"], int(file["total_bytes"]))
    rows = total_bytes = 0
    columns = ["timestamp", "id", "antenna_id", "bytes", "app"]
    for table in storage.read(file["path"], EVENTS, file["sha256"], columns):
        events = pl.DataFrame(pl.from_arrow(table)).with_columns(event_time=pl.col("timestamp").dt.epoch("s"))
        rows += events.height
        total_bytes += int(events["bytes"].cast(pl.Int128).sum())
        yield events.select([column for column in ACCEPTED_SCHEMA if column != "position"])
    if (rows, total_bytes) != expected:
        raise StorageError(
            f"archive file {file['path']} of {storage.storage_path} holds {rows} events of {total_bytes} "
            f"bytes, but the manifest says {expected[0]} events of {expected[1]} bytes: the file is damaged"
        )
