"""The archive: Parquet files by event hour, first staged, then published under their final names.

A file is staged by an executor outside the folders that people read, and moved to its final name by
the driver in the transaction that records it in the manifest (``ops.archive_files``): that transaction is
the committer, and a file that it does not name is a leftover. So nothing depends on a move being atomic. On
object stores it is a copy, by which the final object appears whole, and a delete. Names carry the epoch of
the driver, or 0 for maintenance, and never collide.
"""

import hashlib
import os
import posixpath
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
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
# Drivers count their epochs from 1; what maintenance and replays write carries this one.
MAINTENANCE_EPOCH: Final = 0

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
PERMISSION_HINT: Final = "give a folder that this user may write to, or change its permissions"
CREDENTIALS_HINT: Final = (
    "the bucket must exist, and the credentials that the environment gives (AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, or those of the machine) must allow to put, get, list and delete objects"
)
SCHEMAS: Final = {EVENTS: EVENT_FILE_SCHEMA, REJECTED: REJECTED_FILE_SCHEMA}


class StagedFile(msgspec.Struct, frozen=True):
    """A written file that is not published yet, and its row of the manifest.

    ``path`` is the final path and ``staging_path`` the present one, both relative to the storage
    path; ``hour`` is its start in epoch seconds; ``offsets`` maps a Kafka partition to its first and
    last offset in the file; ``total_bytes`` sums the events' bytes; ``file_size`` is in bytes; ``sha256``
    is the digest of the file's bytes, in hexadecimal digits.
    """

    path: str
    staging_path: str
    kind: str
    hour: int
    rows: int
    total_bytes: int
    file_size: int
    offsets: dict[int, tuple[int, int]]
    sha256: str


class StorageError(Exception):
    """The storage path cannot be used, or does not hold what the manifest says."""


class MissingFileError(StorageError):
    """A file that the manifest names is not there."""


class _DigestingSink:
    """What is written to a file, and the digest of it."""

    closed = False

    def __init__(self, stream: pa.NativeFile) -> None:
        self._stream = stream
        self.sha256 = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        self._stream.write(data)
        return len(data)

    def tell(self) -> int:
        return int(self._stream.tell())

    def flush(self) -> None:
        self._stream.flush()


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
        # An object store would get an empty object for each folder.
        self._makes_folders = not isinstance(self.filesystem, pafs.S3FileSystem | pafs.GcsFileSystem)

    def full(self, path: str) -> str:
        """The path within the file system of a path relative to the storage path."""
        return posixpath.join(self.root, path)

    def check_writable(self) -> None:
        """Raises StorageError unless a file can be created below the storage path."""
        probe = posixpath.join(STAGING, f"probe-{uuid.uuid4().hex}")
        try:
            self._make_folder(STAGING)
            with self.filesystem.open_output_stream(self.full(probe)) as stream:
                stream.write(b"probe")
            self.filesystem.delete_file(self.full(probe))
        except OSError as error:
            raise StorageError(
                f"storage path {self.storage_path!r} is not writable: {error}; "
                f"{PERMISSION_HINT if self._makes_folders else CREDENTIALS_HINT}"
            ) from error

    def stage(
        self,
        tables: Iterable[pa.Table],
        kind: str,
        hour: int,
        epoch: int,
        offsets: dict[int, tuple[int, int]],
        total_bytes: int,
    ) -> StagedFile:
        """Stage tables of one hour, which have the columns of the kind's schema, as one file.

        ``epoch`` is that of the driver, or ``MAINTENANCE_EPOCH``. Each table becomes a row group of its own.
        """
        span = "-".join(f"p{part}-{first}-{last}" for part, (first, last) in sorted(offsets.items())[:4])
        name = f"e{epoch}-{span}-{uuid.uuid4().hex[:12]}.parquet"
        staging_folder = posixpath.join(STAGING, f"epoch={epoch}")
        staging_path = posixpath.join(staging_folder, name)
        self._make_folder(staging_folder)
        try:
            rows, sha256 = self._write(staging_path, tables, SCHEMAS[kind])
        except Exception:
            # Half a file only takes up space, which may be what is missing.
            with suppress(OSError):
                self.delete([staging_path])
            raise
        return StagedFile(
            path=posixpath.join(hour_folder(kind, hour), name),
            staging_path=staging_path,
            kind=kind,
            hour=hour,
            rows=rows,
            total_bytes=total_bytes,
            file_size=self.filesystem.get_file_info(self.full(staging_path)).size,
            offsets=offsets,
            sha256=sha256,
        )

    def publish(self, files: Iterable[StagedFile]) -> None:
        """Move staged files to their final names; a file that already stands there stays.

        Raises:
            StorageError: a file is neither staged nor published.
        """
        folders = set()
        for file in files:
            folder = posixpath.dirname(file.path)
            self._make_folder(folder)
            if self.exists(file.staging_path):
                self.filesystem.move(self.full(file.staging_path), self.full(file.path))
                folders |= set(_with_parents(folder))
            elif not self.exists(file.path):
                raise StorageError(f"staged file {file.staging_path} of {self.storage_path} has vanished")
        for folder in sorted(folders):
            self._flush_to_disk(folder)

    def withdraw(self, files: Iterable[StagedFile]) -> None:
        """Remove files that will never be committed; files that are gone are fine."""
        self.delete(path for file in files for path in (file.staging_path, file.path))

    def delete(self, paths: Iterable[str]) -> None:
        """Remove files, given relative to the storage path; files that are gone are fine."""
        for path in paths:
            if self.exists(path):
                try:
                    self.filesystem.delete_file(self.full(path))
                except FileNotFoundError:
                    # Somebody else removed it at the same moment.
                    continue

    def read(
        self, path: str, kind: str, sha256: str | None, columns: Sequence[str] | None = None
    ) -> Iterator[pa.Table]:
        """The rows of a file, a row group (a million rows at most) at a time.

        The file is compared with its digest before anything else looks at it: what a flipped bit does to
        a Parquet reader ranges from a wrong value to the end of the process.

        Args:
            path: relative to the storage path.
            kind: ``EVENTS`` or ``REJECTED``.
            sha256: the digest in the manifest; None: it has none.
            columns: columns of the kind's schema; None: all of them.

        Raises:
            MissingFileError: there is no such file.
            StorageError: the file cannot be read or is damaged.
        """
        name = f"archive file {path} of {self.storage_path}"
        try:
            with self.filesystem.open_input_file(self.full(path)) as stream:
                content = stream.read_buffer()
            if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
                raise StorageError(
                    f"{name} is damaged: its {content.size} bytes are not those that were written"
                )
            with pq.ParquetFile(pa.BufferReader(content)) as file:
                for group in range(file.num_row_groups):
                    yield file.read_row_group(group, columns=columns)
        except FileNotFoundError:
            raise MissingFileError(f"{name} is missing") from None
        except (OSError, pa.ArrowException) as error:
            raise StorageError(f"{name} cannot be read: {error}") from None

    def files(self, folder: str) -> dict[str, int]:
        """Path -> size in bytes of every file below a folder; paths relative to the storage path."""
        selector = pafs.FileSelector(self.full(folder), recursive=True, allow_not_found=True)
        return {
            posixpath.relpath(info.path, self.root): info.size
            for info in self.filesystem.get_file_info(selector)
            if info.type == pafs.FileType.File
        }

    def _write(self, path: str, tables: Iterable[pa.Table], schema: pa.Schema) -> tuple[int, str]:
        rows = 0
        with self.filesystem.open_output_stream(self.full(path)) as stream:
            sink = _DigestingSink(stream)
            with pq.ParquetWriter(pa.PythonFile(sink, "w"), schema, compression="zstd") as writer:
                for table in tables:
                    writer.write_table(table.cast(schema))
                    rows += table.num_rows
        self._flush_to_disk(path)
        return rows, sink.sha256.hexdigest()

    def exists(self, path: str) -> bool:
        """Whether there is such a file."""
        return bool(self.filesystem.get_file_info(self.full(path)).type == pafs.FileType.File)

    def _make_folder(self, path: str) -> None:
        if self._makes_folders:
            self.filesystem.create_dir(self.full(path), recursive=True)

    def _flush_to_disk(self, path: str) -> None:
        # The manifest row must not outlive a file, or its name in a folder, that was only in the page
        # cache. Object stores have written the object when the stream is closed.
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


def _with_parents(folder: str) -> list[str]:
    parts = folder.split("/")
    return ["/".join(parts[:count]) for count in range(len(parts) + 1)]
