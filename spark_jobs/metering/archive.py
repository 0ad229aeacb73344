"""The archive: Parquet files by event hour, first staged, then published under their final names.

A file is staged by an executor outside the folders that people read, and moved to its final name by
the driver in the transaction that records it in the manifest (``ops.archive_files``). On object
stores a move is a copy and a delete, so the final object appears whole there too. Names carry the
epoch of the driver and never collide; files of older epochs that are not in the manifest are
leftovers of a dead driver, and ``sweep`` removes them.
"""

import os
import posixpath
import uuid
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

EVENTS: Final = "events"
REJECTED: Final = "rejected"
STAGING: Final = "_staging"

EVENT_FILE_SCHEMA: Final = pa.schema(
    [
        ("timestamp", pa.timestamp("us", tz="UTC")),
        ("id", pa.string()),
        ("antenna_id", pa.string()),
        ("bytes", pa.int64()),
        ("app", pa.string()),
        ("topic", pa.string()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
    ]
)
REJECTED_FILE_SCHEMA: Final = pa.schema(
    [
        ("topic", pa.string()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("kafka_timestamp", pa.timestamp("us", tz="UTC")),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("value", pa.binary()),
    ]
)


class StagedFile(msgspec.Struct, frozen=True):
    """A written file that is not published yet, and its row of the manifest.

    ``path`` is the final path and ``staging_path`` the present one, both relative to the storage
    path; ``hour`` is its start in epoch seconds; ``offsets`` maps a Kafka partition to its first and
    last offset in the file; ``total_bytes`` sums the events' bytes; ``file_size`` is in bytes.
    """

    path: str
    staging_path: str
    kind: str
    hour: int
    rows: int
    total_bytes: int
    file_size: int
    offsets: dict[int, tuple[int, int]]


class StorageError(Exception):
    """The storage path cannot be used, or does not hold what the manifest says."""


class Storage:
    """A folder on a file system that pyarrow knows: ``file:``, ``s3a:``, ``gs:``, ``hdfs:``, a plain path."""

    def __init__(self, storage_path: str) -> None:
        self.storage_path = storage_path
        uri = storage_path.replace("s3a://", "s3://", 1)
        if "://" not in uri:
            uri = str(Path(uri.removeprefix("file:")).absolute())
        try:
            self.filesystem, self.root = pafs.FileSystem.from_uri(uri)
        except (pa.ArrowInvalid, OSError) as error:
            raise StorageError(
                f"storage path {storage_path!r} cannot be opened: {error}; "
                "give a folder, or a URI such as s3a://bucket/folder or gs://bucket/folder"
            ) from error

    def full(self, path: str) -> str:
        """The path within the file system of a path relative to the storage path."""
        return posixpath.join(self.root, path)

    def check_writable(self) -> None:
        """Raises StorageError unless a file can be created below the storage path."""
        probe = posixpath.join(STAGING, f"probe-{uuid.uuid4().hex}")
        try:
            self.filesystem.create_dir(self.full(STAGING), recursive=True)
            with self.filesystem.open_output_stream(self.full(probe)) as stream:
                stream.write(b"probe")
            self.filesystem.delete_file(self.full(probe))
        except OSError as error:
            raise StorageError(
                f"storage path {self.storage_path!r} is not writable: {error}; "
                "give a folder that this user may write to, or change its permissions"
            ) from error

    def stage(
        self,
        table: pa.Table,
        kind: str,
        hour: int,
        epoch: int,
        offsets: dict[int, tuple[int, int]],
        total_bytes: int,
    ) -> StagedFile:
        """Stage one hour's table, of ``EVENT_FILE_SCHEMA`` or ``REJECTED_FILE_SCHEMA``."""
        span = "-".join(f"p{part}-{first}-{last}" for part, (first, last) in sorted(offsets.items())[:4])
        name = f"e{epoch}-{span}-{uuid.uuid4().hex[:12]}.parquet"
        staging_folder = posixpath.join(STAGING, f"epoch={epoch}")
        staging_path = posixpath.join(staging_folder, name)
        self.filesystem.create_dir(self.full(staging_folder), recursive=True)
        pq.write_table(
            table,
            self.full(staging_path),
            filesystem=self.filesystem,
            compression="zstd",
            write_statistics=True,
        )
        self._flush_to_disk(staging_path)
        return StagedFile(
            path=posixpath.join(hour_folder(kind, hour), name),
            staging_path=staging_path,
            kind=kind,
            hour=hour,
            rows=table.num_rows,
            total_bytes=total_bytes,
            file_size=self.filesystem.get_file_info(self.full(staging_path)).size,
            offsets=offsets,
        )

    def publish(self, files: Iterable[StagedFile]) -> None:
        """Move staged files to their final names; a file that already stands there stays.

        Raises:
            StorageError: a file is neither staged nor published.
        """
        for file in files:
            folder = self.full(posixpath.dirname(file.path))
            self.filesystem.create_dir(folder, recursive=True)
            if self._exists(file.staging_path):
                self.filesystem.move(self.full(file.staging_path), self.full(file.path))
            elif not self._exists(file.path):
                raise StorageError(f"staged file {file.staging_path} of {self.storage_path} has vanished")

    def withdraw(self, files: Iterable[StagedFile]) -> None:
        """Remove files of a micro-batch that will never be committed; files that are gone are fine."""
        for file in files:
            for path in (file.staging_path, file.path):
                if self._exists(path):
                    self.filesystem.delete_file(self.full(path))

    def sweep(self, manifest: Collection[str], epoch: int) -> list[str]:
        """Remove what older drivers left: files that are not in the manifest, and their staging folders.

        Only for a driver of ``epoch`` that has staged nothing yet: no older driver can commit any more.
        Returns the removed paths, relative to the storage path.
        """
        leftovers = [
            path for folder in (EVENTS, REJECTED) for path in self._files(folder) if path not in manifest
        ] + [path for path in self._files(STAGING) if not path.startswith(f"{STAGING}/epoch={epoch}/")]
        for path in leftovers:
            self.filesystem.delete_file(self.full(path))
        return leftovers

    def _exists(self, path: str) -> bool:
        return bool(self.filesystem.get_file_info(self.full(path)).type == pafs.FileType.File)

    def _files(self, folder: str) -> list[str]:
        selector = pafs.FileSelector(self.full(folder), recursive=True, allow_not_found=True)
        return [
            posixpath.relpath(info.path, self.root)
            for info in self.filesystem.get_file_info(selector)
            if info.type == pafs.FileType.File
        ]

    def _flush_to_disk(self, path: str) -> None:
        # The manifest row must not outlive a file that was only in the page cache. Object stores
        # have written the object when the stream is closed.
        if isinstance(self.filesystem, pafs.LocalFileSystem):
            descriptor = os.open(self.full(path), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def hour_folder(kind: str, hour: int) -> str:
    """The folder, relative to the storage path, of an hour that starts at ``hour`` (epoch seconds)."""
    start = datetime.fromtimestamp(hour, UTC)
    return f"{kind}/year={start.year}/month={start.month}/day={start.day}/hour={start.hour}"
