"""Compares the manifest with the tables, the folder with the manifest, and files with what they should hold.

It is right beside a running stream: what the tables and the manifest say is read in one snapshot, and what
the folder shows is judged only after asking the manifest again, since files are committed and replaced all
the time.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg

from include.maintenance.file_differences import Difference, folder_differences, overlapping_files
from include.maintenance.hour_contents import hour_differences
from include.maintenance.session import SQL, read_files
from metering.archive import Storage
from metering.database import connect

# As many as fit on a screen.
_SHOWN: Final = 12
_COMPUTE_AGAIN: Final = 'compute it again: trigger antenna_batch with the config {{"timestamp": "{subject}"}}'
_LOOK_FOR_CAUSE: Final = (
    "keep tables and archive as they are and look for what changed one of them; "
    "make check DEEP=1 names the rows and files"
)
# Query of include/sql/integrity, which returns what differs and the figures -> what it is, what to do.
_TABLE_CHECKS: Final = {
    "archive_equals_windows": ("hour {subject}: the archive and bytes differ", _LOOK_FOR_CAUSE),
    "hours_equal_archive": ("hour {subject}: bytes_hourly and the archive differ", _COMPUTE_AGAIN),
    "hourly_rows_equal_windows": ("hour {subject}: bytes_hourly and bytes differ", _COMPUTE_AGAIN),
    "records_are_archived": ("{subject} records: counted and kept differ", _LOOK_FOR_CAUSE),
    "offsets_are_committed": ("{subject}: holds offsets that are not committed", _LOOK_FOR_CAUSE),
}


@dataclass
class IntegrityReport:
    """What was compared, and what differs; no differences: all is well."""

    files: int
    total_rows: int
    deep: bool
    differences: list[Difference] = field(default_factory=list)

    def __str__(self) -> str:
        how = "read whole" if self.deep else "compared by name and size"
        head = f"{self.files:,} files of {self.total_rows:,} records were {how}, and compared with the tables"
        if not self.differences:
            return f"{head}: nothing differs"
        lines = [f"{head}: {len(self.differences)} differences", *map(str, self.differences[:_SHOWN])]
        if len(self.differences) > _SHOWN:
            lines.append(f"and {len(self.differences) - _SHOWN} more")
        return "\n".join(lines)


def check_integrity(
    dsn: str, storage_path: str, *, deep: bool = False, suspects: Collection[str] = ()
) -> IntegrityReport:
    """Compare manifest, folder and tables.

    Args:
        dsn: libpq connection string of the project's database.
        storage_path: of the archive.
        deep: read every file: its digest, rows, bytes and offsets against the manifest, no record twice in
            an hour, and the hour's sums against ``bytes`` row by row.
        suspects: paths that are read in any case.

    Raises:
        DatabaseError, StorageError: the database or the storage path cannot be used at all.
    """
    storage = Storage(storage_path)
    with connect(dsn, wait_seconds=15) as connection:
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            files = read_files(connection)
            differences = _table_differences(connection)
        report = IntegrityReport(len(files), sum(file.rows for file in files), deep, differences)
        report.differences += folder_differences(connection, storage, files)
        named = {difference.path for difference in report.differences}
        to_read = [file for file in files if file.path not in named]
        if not deep:
            to_read = [*overlapping_files(to_read), *(file for file in to_read if file.path in suspects)]
        paths = None if deep else {file.path for file in to_read}
        for kind, hour in sorted({(file.kind, file.hour) for file in to_read}):
            report.differences += [
                difference
                for difference in hour_differences(connection, storage, kind, hour, paths)
                if difference.path is None or difference.path not in named
            ]
    return report


def _table_differences(connection: psycopg.Connection[Any]) -> list[Difference]:
    differences = []
    for name, (what, advice) in _TABLE_CHECKS.items():
        for subject, figures in connection.execute((SQL / "integrity" / f"{name}.sql").read_bytes()):
            text = subject if isinstance(subject, str) else subject.isoformat()
            path = text if name == "offsets_are_committed" else None
            differences.append(
                Difference(what.format(subject=text), figures, advice.format(subject=text), path)
            )
    return differences
