"""Compares the folder of the archive with the manifest, and ranges of offsets with each other."""

import time
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from include.maintenance.session import ArchiveFile
from metering.archive import EVENTS, REJECTED, Storage
from metering.locks import MAINTENANCE_LOCK, held_if_free
from metering.statements import manifest_paths

# How long a file may be on its way into the manifest, or out of the folder.
SETTLE_SECONDS: Final = 20.0
_POLL_SECONDS: Final = 0.5

RESTORE: Final = (
    "restore it from a backup. Until then its hour cannot be computed again, nor merged; the rows in the "
    "tables are right and stay"
)
_REMOVE: Final = (
    "readers of the folder count its records twice. Run the DAG maintenance, which removes what a crash "
    "left; a file that stays was put there by somebody else: move it away"
)


@dataclass(frozen=True)
class Difference:
    """What differs, by how much, and what to do; ``path`` where it is about one file."""

    what: str
    figures: str
    advice: str
    path: str | None = None

    def __str__(self) -> str:
        return f"* {self.what}\n  {self.figures}\n  next: {self.advice}"


def folder_differences(
    connection: psycopg.Connection[Any], storage: Storage, files: Collection[ArchiveFile]
) -> list[Difference]:
    """Compare the folder with a snapshot of the manifest: missing, extra and cut files.

    ``connection`` is in autocommit, since the manifest of now is asked for what the snapshot cannot tell.
    """
    found = storage.files(EVENTS) | storage.files(REJECTED)
    missing = {file.path for file in files if file.path not in found}
    if missing:
        # What was replaced since the snapshot has left the manifest before the folder.
        missing &= manifest_paths(connection)
    differences = [
        Difference(f"{path}: missing", "the manifest names it, and it is not there", RESTORE, path)
        for path in sorted(missing)
    ]
    differences += [
        Difference(
            f"{file.path}: damaged",
            f"{found[file.path]} bytes long, by the manifest {file.file_size}",
            RESTORE,
            file.path,
        )
        for file in files
        if found.get(file.path, file.file_size) != file.file_size
    ]
    extra = _still_extra(connection, storage, found.keys() - {file.path for file in files})
    return differences + [
        Difference(f"{path}: not in the manifest", f"{found[path]} bytes long", _REMOVE, path)
        for path in sorted(extra)
    ]


def _still_extra(connection: psycopg.Connection[Any], storage: Storage, paths: set[str]) -> set[str]:
    """Those of the files that are neither committed, nor gone, nor about to be deleted, after a while."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        paths = {path for path in paths - manifest_paths(connection) if storage.exists(path)}
        if not paths or time.monotonic() > deadline:
            break
        time.sleep(_POLL_SECONDS)
    with held_if_free(connection, MAINTENANCE_LOCK) as no_maintenance:
        if not paths or no_maintenance:
            return paths
        being_deleted = {str(path) for (path,) in connection.execute("SELECT path FROM ops.files_to_delete")}
    return paths - being_deleted


def overlapping_files(files: Iterable[ArchiveFile]) -> list[ArchiveFile]:
    """The files whose ranges of offsets overlap with another of the same hour, kind and partition.

    Files of a replay do so rightly; only their rows can tell whether a record is in both.
    """
    ranges: dict[tuple[object, ...], list[tuple[int, int, ArchiveFile]]] = defaultdict(list)
    for file in files:
        for partition, (first, last) in file.offsets.items():
            ranges[file.kind, file.hour, file.topic, partition].append((first, last, file))
    overlapping: dict[str, ArchiveFile] = {}
    for spans in ranges.values():
        spans.sort(key=lambda span: span[:2])
        newest = spans[0]
        for span in spans[1:]:
            if span[0] <= newest[1]:
                overlapping |= {newest[2].path: newest[2], span[2].path: span[2]}
            newest = max(newest, span, key=lambda span: span[1])
    return list(overlapping.values())
