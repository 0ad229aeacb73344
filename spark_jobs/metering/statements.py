"""What a transaction that adds events to the tables writes: progress, sums and manifest.

The stream's micro-batches and a replay of rejected records are applied by these same statements, each within
the one transaction of its caller, on a connection of ``metering.database.connect``.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl
import psycopg
from psycopg import sql

from metering.archive import StagedFile


def prepare_totals(connection: psycopg.Connection[Any]) -> None:
    """Make the session's temporary table that ``add_totals`` loads."""
    connection.execute(
        "CREATE TEMPORARY TABLE partial_totals (window_start BIGINT, type TEXT, id TEXT, value BIGINT) "
        "ON COMMIT DELETE ROWS"
    )


def lock_topic(connection: psycopg.Connection[Any], topic: str) -> int | None:
    """Hold the topic's row in ``ops.streams`` until the transaction ends; returns its epoch, None without.

    Whoever inserts a micro-batch holds it, so that commit ids grow in the order of the commits.
    """
    row = connection.execute("SELECT epoch FROM ops.streams WHERE topic = %s FOR UPDATE", (topic,)).fetchone()
    return None if row is None else int(row[0])


def insert_micro_batch(
    connection: psycopg.Connection[Any],
    topic: str,
    epoch: int,
    *,
    accepted: int,
    rejected: Mapping[str, int],
    newest_event_time: int | None,
    executor_ms: int,
    is_replay: bool = False,
) -> int:
    """Record the progress of a commit; returns its commit id.

    ``rejected`` maps reason to records; a replay takes those off that it accepts (negative counts).
    """
    row = connection.execute(
        """
        INSERT INTO ops.micro_batches
            (topic, epoch, accepted, rejected, rejected_by_reason, newest_event_time, executor_ms, is_replay)
        VALUES (%s, %s, %s, %s, %s, to_timestamp(%s), %s, %s)
        RETURNING commit_id
        """,
        (
            topic,
            epoch,
            accepted,
            sum(rejected.values()),
            json.dumps(rejected),
            newest_event_time,
            executor_ms,
            is_replay,
        ),
    ).fetchone()
    return int(row[0])  # type: ignore[index]


def add_totals(connection: psycopg.Connection[Any], table: sql.Identifier, totals: pl.DataFrame) -> None:
    """Add totals (``window``, ``type``, ``id``, ``value``) to the table of 5-minute windows.

    Raises:
        psycopg.errors.NumericValueOutOfRange: a sum does not fit BIGINT.
    """
    if totals.is_empty():
        return
    rows = totals.select("window", "type", "id", "value").sort("window", "type", "id")
    with connection.cursor() as cursor:
        with cursor.copy("COPY partial_totals FROM STDIN (FORMAT csv)") as copy:
            copy.write(rows.write_csv(include_header=False, quote_style="non_numeric"))
        cursor.execute(
            sql.SQL(
                """
                INSERT INTO {table} AS total (timestamp, type, id, value)
                SELECT to_timestamp(window_start), type, id, value FROM partial_totals
                ORDER BY window_start, type, id
                ON CONFLICT (timestamp, type, id) DO UPDATE SET value = total.value + EXCLUDED.value
                """
            ).format(table=table)
        )


def insert_files(connection: psycopg.Connection[Any], files: Iterable[StagedFile], commit_id: int) -> None:
    """Add published files to the manifest, as those of a commit."""
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO ops.archive_files "
            "(path, kind, hour, rows, total_bytes, file_size, sha256, offsets, commit_id) "
            "VALUES (%s, %s, to_timestamp(%s), %s, %s, %s, %s, %s, %s)",
            [_manifest_row(file, commit_id) for file in files],
        )


def manifest_paths(connection: psycopg.Connection[Any]) -> set[str]:
    """The paths, relative to the storage path, of all files that are part of the archive."""
    return {str(path) for (path,) in connection.execute("SELECT path FROM ops.archive_files")}


def _manifest_row(file: StagedFile, commit_id: int) -> tuple[Any, ...]:
    return (
        file.path,
        file.kind,
        file.hour,
        file.rows,
        file.total_bytes,
        file.file_size,
        file.sha256,
        json.dumps(file.offsets),
        commit_id,
    )
