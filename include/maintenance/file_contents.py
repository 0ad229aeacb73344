"""What an archive file holds, compared with its row of the manifest."""

from collections.abc import Iterator
from typing import Final

import polars as pl
import pyarrow as pa

from include.maintenance.session import ArchiveFile
from metering.archive import EVENTS, REJECTED, Storage, StorageError
from metering.hours import HOUR

# The column whose hour is the file's.
_HOUR_COLUMNS: Final = {EVENTS: "timestamp", REJECTED: "kafka_timestamp"}


def read_checked(storage: Storage, file: ArchiveFile) -> Iterator[pa.Table]:
    """The rows of a file, all columns, a row group at a time; what differs is raised after the last one.

    Raises:
        MissingFileError: there is no such file.
        StorageError: it cannot be read, or holds something else than the manifest says.
    """
    rows = total_bytes = strangers = 0
    offsets: dict[int, tuple[int, int]] = {}
    for table in storage.read(file.path, file.kind, file.sha256):
        yield table
        rows += table.num_rows
        frame = pl.DataFrame(pl.from_arrow(table.drop(["value"] if file.kind == REJECTED else [])))
        if file.kind == EVENTS:
            total_bytes += int(frame["bytes"].cast(pl.Int128).sum())
        strangers += frame.filter(~_belongs_to(file)).height
        spans = frame.group_by("partition").agg(
            pl.min("offset").alias("first"), pl.max("offset").alias("last")
        )
        for partition, first, last in spans.iter_rows():
            former = offsets.get(partition, (first, last))
            offsets[partition] = (min(first, former[0]), max(last, former[1]))
    differences = [
        f"{name} {found}, by the manifest {expected}"
        for name, found, expected in (
            ("rows", rows, file.rows),
            ("bytes", total_bytes, file.total_bytes),
            ("offsets", dict(sorted(offsets.items())), dict(sorted(file.offsets.items()))),
            (f"rows of another hour or topic than {file.hour.isoformat()} {file.topic}", strangers, 0),
        )
        if found != expected
    ]
    if differences:
        raise StorageError(
            f"archive file {file.path} of {storage.storage_path} is not what it was: {'; '.join(differences)}"
        )


def _belongs_to(file: ArchiveFile) -> pl.Expr:
    instant = pl.col(_HOUR_COLUMNS[file.kind])
    in_hour = (instant >= file.hour) & (instant < file.hour + HOUR)
    return (in_hour & (pl.col("topic") == file.topic)).fill_null(False)
