"""An hour in PostgreSQL: its manifest to read, its rows to replace, in one session that owns the hour."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import psycopg
from psycopg import sql

from metering.database import DatabaseError, connect, table_name

_LOCK_CLASS: Final = 0x616E74  # advisory locks of this project: (class, hours since 1970)
_LOCK_TIMEOUT: Final = "10min"


@dataclass(frozen=True)
class Manifest:
    """The event files of an hour up to a commit; ``files`` holds (path, rows, total_bytes)."""

    commit_id: int
    files: list[tuple[str, int, int]]

    @property
    def events(self) -> int:
        """How many events the hour holds."""
        return sum(rows for _, rows, _ in self.files)

    @property
    def total_bytes(self) -> int:
        """The bytes that the hour's events moved."""
        return sum(total for _, _, total in self.files)


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
                connection.execute(
                    "SELECT pg_advisory_lock(%s, %s)", (_LOCK_CLASS, int(hour.timestamp()) // 3600)
                )
            except psycopg.errors.LockNotAvailable:
                raise DatabaseError(
                    f"another run has been computing the hour {hour.isoformat()} for {_LOCK_TIMEOUT}; "
                    "look whether it hangs, and end it"
                ) from None
            yield cls(connection, hour)

    def manifest(self) -> Manifest:
        """The hour's event files, and the last commit that is visible: later ones make the hour late."""
        with self._connection.transaction():
            self._connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            last = self._connection.execute(
                "SELECT coalesce(max(commit_id), 0) FROM ops.micro_batches"
            ).fetchone()
            files = self._connection.execute(
                "SELECT path, rows, total_bytes FROM ops.archive_files "
                "WHERE kind = 'events' AND hour = %s ORDER BY path",
                (self.hour,),
            ).fetchall()
        assert last is not None
        return Manifest(int(last[0]), [(path, int(rows), int(total)) for path, rows, total in files])

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


def _copy(
    cursor: psycopg.Cursor[Any], table: str, columns: tuple[str, ...], rows: list[tuple[Any, ...]]
) -> None:
    statement = sql.SQL("COPY {table} ({columns}) FROM STDIN").format(
        table=table_name(table), columns=sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    with cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)
