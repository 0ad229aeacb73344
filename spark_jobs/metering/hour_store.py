"""An hour in PostgreSQL: its manifest to read, its rows to replace, in one session that owns the hour."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import psycopg
from psycopg import sql

from metering.database import DatabaseError, connect, table_name
from metering.locks import hour_lock, wait_for

_LOCK_TIMEOUT: Final = "10min"


@dataclass(frozen=True)
class Manifest:
    """The event files of an hour up to a commit; ``files`` holds (path, rows, total_bytes, sha256)."""

    commit_id: int
    files: list[tuple[str, int, int, str | None]]

    @property
    def events(self) -> int:
        """How many events the hour holds."""
        return sum(rows for _, rows, _, _ in self.files)

    @property
    def total_bytes(self) -> int:
        """The bytes that the hour's events moved."""
        return sum(total for _, _, total, _ in self.files)


class HourStore:
    """Reads and replaces one hour. Only within ``locked`` of this object."""

    def __init__(self, connection: psycopg.Connection[Any], hour: datetime) -> None:
        self._connection = connection
        self.hour = hour

    @classmethod
    @contextmanager
    def locked(cls, dsn: str, hour: datetime) -> Iterator["HourStore"]:
        """Own the hour until the session ends; a second run of the same hour waits for the first.

        Raises:
            DatabaseError: PostgreSQL refuses, or another run keeps the hour for ten minutes.
        """
        with connect(dsn, wait_seconds=15, lock_timeout=_LOCK_TIMEOUT) as connection:
            try:
                wait_for(connection, hour_lock(hour))
            except psycopg.errors.LockNotAvailable:
                raise DatabaseError(
                    f"another run has been computing the hour {hour.isoformat()} for {_LOCK_TIMEOUT}; "
                    "look whether it hangs, and end it"
                ) from None
            yield cls(connection, hour)

    def manifest(self) -> Manifest:
        """The hour's event files, and the last commit that is visible: later ones make the hour late.

        Raises:
            DatabaseError: retention has removed the hour's archive, so it can never be computed again.
        """
        with self._connection.transaction():
            self._connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            removed_at = archive_removed_at(self._connection, self.hour)
            last = self._connection.execute(
                "SELECT coalesce(max(commit_id), 0) FROM ops.micro_batches"
            ).fetchone()
            files = self._connection.execute(
                "SELECT path, rows, total_bytes, sha256 FROM ops.archive_files "
                "WHERE kind = 'events' AND hour = %s ORDER BY path",
                (self.hour,),
            ).fetchall()
        if removed_at is not None:
            raise DatabaseError(archive_removed_message(self.hour, removed_at))
        assert last is not None
        return Manifest(
            int(last[0]), [(path, int(rows), int(total), sha256) for path, rows, total, sha256 in files]
        )

    def users(self, table: str) -> list[tuple[str, str | None, int | None]]:
        """The rows of ``user_metadata``: id, email, quota (bytes per hour)."""
        query = sql.SQL("SELECT id, email, quota FROM {table}").format(table=table_name(table))
        return self._connection.execute(query).fetchall()

    def replace(
        self,
        hourly_table: str,
        hourly: list[tuple[str, str, int]],
        quota_table: str,
        breaches: list[tuple[str, int, int]],
        manifest: Manifest,
    ) -> None:
        """Replace the hour in both tables, and record up to which commit it is computed, in one transaction.

        Args:
            hourly: (type, id, value) rows of ``bytes_hourly``.
            breaches: (email, usage, quota) rows of ``user_quota_limit``.
        """
        with self._connection.transaction(), self._connection.cursor() as cursor:
            for table in (hourly_table, quota_table):
                cursor.execute(
                    sql.SQL("DELETE FROM {table} WHERE timestamp = %s").format(table=table_name(table)),
                    (self.hour,),
                )
            _copy(
                cursor,
                hourly_table,
                ("timestamp", "type", "id", "value"),
                [(self.hour, *row) for row in hourly],
            )
            _copy(
                cursor,
                quota_table,
                ("timestamp", "email", "usage", "quota"),
                [(self.hour, *row) for row in breaches],
            )
            cursor.execute(
                """
                INSERT INTO ops.hours (hour, covered_commit_id, events, total_bytes, computed_at)
                VALUES (%s, %s, %s, %s, now())
                ON CONFLICT (hour) DO UPDATE SET
                    covered_commit_id = EXCLUDED.covered_commit_id, events = EXCLUDED.events,
                    total_bytes = EXCLUDED.total_bytes, computed_at = EXCLUDED.computed_at
                """,
                (self.hour, manifest.commit_id, manifest.events, manifest.total_bytes),
            )


def archive_removed_at(connection: psycopg.Connection[Any], hour: datetime) -> datetime | None:
    """When retention removed the hour's archive; None: it did not."""
    row = connection.execute("SELECT archive_removed_at FROM ops.hours WHERE hour = %s", (hour,)).fetchone()
    return None if row is None else row[0]


def archive_removed_message(hour: datetime, removed_at: datetime) -> str:
    """Why an hour whose archive was removed is not computed again."""
    return (
        f"the archive of the hour {hour.isoformat()} was removed by retention at "
        f"{removed_at.isoformat(timespec='seconds')}: it cannot be computed again, and its rows in "
        "bytes_hourly and user_quota_limit stay as they are"
    )


def _copy(
    cursor: psycopg.Cursor[Any], table: str, columns: tuple[str, ...], rows: list[tuple[Any, ...]]
) -> None:
    statement = sql.SQL("COPY {table} ({columns}) FROM STDIN").format(
        table=table_name(table), columns=sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    with cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)
