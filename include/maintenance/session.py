"""A session of PostgreSQL that changes the archive: files replace others, or are removed.

Everything that is no driver's goes through here, and in one order: new files are published, the manifest
changes in one transaction, then the old files are deleted. Whoever writes files holds the maintenance lock
from the first staged byte to the commit, in the very session that commits; so a file of maintenance that is
not in the manifest while the lock is free will never be in it, and whoever gets the lock may remove it.
Files that left the manifest stand in ``ops.files_to_delete`` until they are deleted.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self

import psycopg
from psycopg.rows import class_row

from metering import statements
from metering.archive import EVENTS, MAINTENANCE_EPOCH, REJECTED, StagedFile, Storage
from metering.database import connect
from metering.hours import HOUR
from metering.leftovers import sweep
from metering.locks import MAINTENANCE_LOCK, held

SQL: Final = Path(__file__).resolve().parents[1] / "sql"
_LOCK_TIMEOUT: Final = "10min"
# PostgreSQL ends the transaction of a process that freezes inside it: others wait for its rows.
_FROZEN_AFTER: Final = "15s"


class MaintenanceError(Exception):
    """Maintenance cannot do what was asked; the message says what to do."""


@dataclass(frozen=True)
class ArchiveFile:
    """A row of the manifest, with the topic of its commit.

    ``path`` is relative to the storage path, ``hour`` is its start, ``offsets`` maps a partition to its
    first and last offset in the file; ``total_bytes`` sums the events' bytes, ``file_size`` is in bytes,
    ``sha256`` is the digest of the file (None: it was written before digests were kept).
    """

    path: str
    kind: str
    hour: datetime
    topic: str
    rows: int
    total_bytes: int
    file_size: int
    sha256: str | None
    offsets: dict[int, tuple[int, int]]
    commit_id: int


class MaintenanceSession:
    """Changes the archive of one storage path and the manifest of one database. Only within ``open``."""

    def __init__(self, connection: psycopg.Connection[Any], storage: Storage) -> None:
        self.connection = connection
        self.storage = storage

    @classmethod
    @contextmanager
    def open(cls, dsn: str, storage_path: str) -> Iterator[Self]:
        """Open the session.

        Raises:
            DatabaseError: PostgreSQL refuses or does not answer.
            StorageError: the storage path cannot be opened.
        """
        storage = Storage(storage_path)
        with connect(
            dsn,
            wait_seconds=15,
            lock_timeout=_LOCK_TIMEOUT,
            idle_in_transaction_session_timeout=_FROZEN_AFTER,
        ) as connection:
            yield cls(connection, storage)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the maintenance lock for one unit of work: no other maintenance writes files meanwhile.

        Raises:
            MaintenanceError: another process keeps it for ten minutes.
        """
        try:
            with held(self.connection, MAINTENANCE_LOCK):
                yield
        except psycopg.errors.LockNotAvailable:
            raise MaintenanceError(
                f"another process has kept what this one needs for {_LOCK_TIMEOUT}: a maintenance, a replay, "
                "a driver that starts, or a transaction of the stream; look whether it hangs, and end it"
            ) from None

    def query(self, name: str, **parameters: object) -> list[tuple[Any, ...]]:
        """The rows of a query of ``include/sql``, such as ``queries/late_hours``."""
        return self.connection.execute((SQL / f"{name}.sql").read_bytes(), parameters).fetchall()

    def files_of_hour(self, kind: str, hour: datetime) -> list[ArchiveFile]:
        """The hour's rows of the manifest, in the order of their commits."""
        return read_files(self.connection, [kind], hour, hour + HOUR)

    @contextmanager
    def publishing(self, files: Sequence[StagedFile]) -> Iterator[None]:
        """Publish staged files and open the transaction that takes them into the manifest.

        Where it is certain that nothing was committed, the files are withdrawn; where it is not, because
        the connection was lost, they stay for the next sweep to judge.
        """
        try:
            self.storage.publish(files)
            with self.connection.transaction():
                yield
        except Exception as error:
            # An error in an open session means that PostgreSQL rolled back.
            if not (isinstance(error, psycopg.OperationalError) and self.connection.closed):
                self.storage.withdraw(files)
            raise

    def replace(self, old: Sequence[str], new: Sequence[StagedFile], commit_id: int) -> None:
        """In the open transaction: files leave the manifest, others come in as those of a commit.

        Raises:
            MaintenanceError: an old file is not in the manifest any more.
        """
        removed = self.connection.execute(
            "DELETE FROM ops.archive_files WHERE path = ANY(%s)", (list(old),)
        ).rowcount
        if removed != len(old):
            raise MaintenanceError(
                f"{len(old) - removed} of {len(old)} files left the manifest while they were at work on, "
                f"{old[0]} or others: nothing was changed; look who else changes ops.archive_files"
            )
        self.mark_for_deletion(old)
        statements.insert_files(self.connection, new, commit_id)

    def mark_for_deletion(self, paths: Sequence[str]) -> None:
        """In the open transaction: note files that leave the manifest, so that a crash forgets none."""
        self.connection.execute(
            "INSERT INTO ops.files_to_delete (path) SELECT unnest(%s::text[])", (list(paths),)
        )

    def delete_files(self, paths: Sequence[str]) -> None:
        """Delete files that left the manifest in a transaction that is committed."""
        self.storage.delete(paths)
        self.connection.execute("DELETE FROM ops.files_to_delete WHERE path = ANY(%s)", (list(paths),))

    def sweep(self) -> list[str]:
        """Remove what crashes left: files of dead drivers and of maintenance, and files to delete.

        Returns the removed paths, relative to the storage path.
        """
        with self.alone():
            waiting = [
                str(path) for (path,) in self.connection.execute("SELECT path FROM ops.files_to_delete")
            ]
            self.delete_files(waiting)
            # A driver of an older epoch than this can commit nothing more.
            row = self.connection.execute("SELECT min(epoch) FROM ops.streams").fetchone()
            oldest = row[0] if row else None

            def is_dead(epoch: int | None) -> bool:
                if epoch is None or epoch == MAINTENANCE_EPOCH:
                    return epoch == MAINTENANCE_EPOCH
                return oldest is not None and epoch < oldest

            swept = sweep(self.storage, lambda: statements.manifest_paths(self.connection), is_dead)
        return waiting + swept


def read_files(
    connection: psycopg.Connection[Any],
    kinds: Sequence[str] = (EVENTS, REJECTED),
    first_hour: datetime | None = None,
    end_hour: datetime | None = None,
) -> list[ArchiveFile]:
    """Rows of the manifest of hours from ``first_hour`` to before ``end_hour`` (None: no bound), in the
    order of their commits."""
    query = (SQL / "queries" / "archive_files.sql").read_bytes()
    with connection.cursor(row_factory=class_row(ArchiveFile)) as cursor:
        files = cursor.execute(
            query,
            {
                "kinds": list(kinds),
                "first_hour": first_hour or "-infinity",
                "end_hour": end_hour or "infinity",
            },
        ).fetchall()
    return [
        replace(
            file,
            total_bytes=int(file.total_bytes),
            offsets={int(partition): (first, last) for partition, (first, last) in file.offsets.items()},
        )
        for file in files
    ]
