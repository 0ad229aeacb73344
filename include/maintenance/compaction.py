"""Merges the many small files of a closed hour into few; the events and their commits stay what they were.

Only files of one hour, kind and topic are merged, neighbours in the order of their commits. Where the hour
is computed, only those that its batch covered: the merged file then stands for the newest of their commits,
and it is covered as they were. Files that came later stay apart until ``late_hours`` has computed the hour.
The hour's lock keeps the batch job out, which reads the files that the manifest names.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

import pyarrow as pa

from include.maintenance.file_contents import read_checked
from include.maintenance.session import ArchiveFile, MaintenanceSession
from metering.archive import EVENTS, MAINTENANCE_EPOCH, StagedFile, Storage, StorageError
from metering.locks import held_if_free, hour_lock

TARGET_FILE_MB: Final = 128
# What is held in memory while files are merged, and becomes one row group.
_ROWS_PER_GROUP: Final = 1_000_000
_BYTES_PER_GROUP: Final = 256 * 2**20
# A replay takes up a file of rejected records as a whole.
REJECTED_ROWS_PER_FILE: Final = 1_000_000


@dataclass
class CompactionReport:
    """What was done: hours touched, files before and after, hours left for next time, damaged files."""

    hours: set[datetime] = field(default_factory=set)
    merged_files: int = 0
    new_files: int = 0
    busy_hours: set[datetime] = field(default_factory=set)
    # path -> what is wrong; such files, and those that would be merged with them, stay as they are
    damaged: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        text = f"{self.merged_files} files of {len(self.hours)} hours were merged into {self.new_files}"
        if self.busy_hours:
            text += f"; left for next time, since they are being computed: {len(self.busy_hours)} hours"
        return "\n".join([text, *self.damaged.values()])


def compact_closed_hours(
    session: MaintenanceSession, closed_before: datetime, target_bytes: int
) -> CompactionReport:
    """Merge the files of every hour that ends before ``closed_before``, up to ``target_bytes`` each.

    A crash at any moment leaves the manifest with the old files or with the new one. Leftovers are swept
    first.

    Raises:
        StorageError: a file cannot be written. Files that cannot be read are reported instead.
        MaintenanceError: another maintenance keeps its lock.
    """
    report = CompactionReport()
    # A second try begins with what the first one left.
    session.sweep()
    for kind, hour in session.query("queries/hours_to_compact", closed_before=closed_before):
        with ExitStack() as locks:
            locks.enter_context(session.alone())
            if kind == EVENTS and not locks.enter_context(held_if_free(session.connection, hour_lock(hour))):
                report.busy_hours.add(hour)
                continue
            for files in _files_to_merge(session, kind, hour, target_bytes):
                _merge(session, files, report)
    return report


def pack(files: Sequence[ArchiveFile], target_bytes: int, target_rows: int) -> list[list[ArchiveFile]]:
    """Group neighbours up to the target; a file that reaches it alone is a group of its own."""
    groups: list[list[ArchiveFile]] = []
    size = rows = 0
    for file in files:
        size, rows = size + file.file_size, rows + file.rows
        if groups and size <= target_bytes and rows <= target_rows:
            groups[-1].append(file)
        else:
            groups.append([file])
            size, rows = file.file_size, file.rows
    return groups


def _files_to_merge(
    session: MaintenanceSession, kind: str, hour: datetime, target_bytes: int
) -> list[list[ArchiveFile]]:
    files = session.files_of_hour(kind, hour)
    if kind == EVENTS:
        row = session.connection.execute(
            "SELECT covered_commit_id FROM ops.hours WHERE hour = %s", (hour,)
        ).fetchone()
        if row is not None:
            files = [file for file in files if file.commit_id <= row[0]]
    target_rows = 2**63 if kind == EVENTS else REJECTED_ROWS_PER_FILE
    groups = [
        group
        for topic in sorted({file.topic for file in files})
        for group in pack([file for file in files if file.topic == topic], target_bytes, target_rows)
    ]
    return [group for group in groups if len(group) > 1]


def _merge(session: MaintenanceSession, files: list[ArchiveFile], report: CompactionReport) -> None:
    storage = session.storage
    try:
        merged = _stage(storage, files)
    except StorageError:
        report.damaged |= _damaged(storage, files)
        if not report.damaged.keys() & {file.path for file in files}:
            raise
        return
    paths = [file.path for file in files]
    with session.publishing([merged]):
        session.replace(paths, [merged], max(file.commit_id for file in files))
    session.delete_files(paths)
    report.hours.add(files[0].hour)
    report.merged_files += len(files)
    report.new_files += 1


def _stage(storage: Storage, files: list[ArchiveFile]) -> StagedFile:
    """Write the merged file, and read it back: only then may the files that it replaces go."""
    first = files[0]
    offsets: dict[int, tuple[int, int]] = {}
    for file in files:
        for partition, (begin, end) in file.offsets.items():
            former = offsets.get(partition, (begin, end))
            offsets[partition] = (min(begin, former[0]), max(end, former[1]))
    total_bytes = sum(file.total_bytes for file in files)
    hour = int(first.hour.timestamp())
    merged = storage.stage(
        _row_groups(storage, files), first.kind, hour, MAINTENANCE_EPOCH, offsets, total_bytes
    )
    try:
        expected = replace(
            first, path=merged.staging_path, rows=sum(file.rows for file in files),
            total_bytes=total_bytes, offsets=offsets, sha256=merged.sha256,
        )  # fmt: skip
        for _ in read_checked(storage, expected):
            pass
    except StorageError:
        storage.withdraw([merged])
        raise
    return merged


def _row_groups(storage: Storage, files: list[ArchiveFile]) -> Iterator[pa.Table]:
    """The rows of all files, in tables of a good size for a row group."""
    waiting: list[pa.Table] = []
    for file in files:
        for table in read_checked(storage, file):
            waiting.append(table)
            if (
                sum(table.num_rows for table in waiting) >= _ROWS_PER_GROUP
                or sum(table.nbytes for table in waiting) >= _BYTES_PER_GROUP
            ):
                yield pa.concat_tables(waiting)
                waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def _damaged(storage: Storage, files: list[ArchiveFile]) -> dict[str, str]:
    damaged = {}
    for file in files:
        try:
            for _ in read_checked(storage, file):
                pass
        except StorageError as error:
            damaged[file.path] = str(error)
    return damaged
