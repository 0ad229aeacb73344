"""Reads the files of an hour whole, and compares their rows with the manifest, each other and ``bytes``."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final

import polars as pl
import psycopg
import pyarrow as pa

from include.maintenance.file_contents import read_checked
from include.maintenance.file_differences import RESTORE, Difference
from include.maintenance.session import SQL, ArchiveFile, read_files
from metering.archive import EVENTS, MissingFileError, Storage, StorageError
from metering.hours import HOUR, WINDOW_SECONDS
from metering.statements import manifest_paths
from metering.totals import KEYS, TOTALS_SCHEMA, no_totals, sum_totals, totals

# An hour that changes while it is read is read again, so often.
_ATTEMPTS: Final = 5
_SHOWN_ROWS: Final = 3
_KEY: Final = ["window", "type", "id"]

_TWICE: Final = "keep everything as it is and look for what wrote these files: no commit can do that"
_SUMS: Final = (
    "keep everything as it is and look for what changed bytes: these files are what was committed, and they "
    "say what the windows must be"
)


def hour_differences(
    connection: psycopg.Connection[Any],
    storage: Storage,
    kind: str,
    hour: datetime,
    paths: Collection[str] | None,
) -> list[Difference]:
    """Read the hour's files of these paths and tell what is wrong with them.

    With ``paths`` None, all files are read, and their sums are compared with the hour's rows of ``bytes``.
    ``connection`` is in autocommit.
    """
    for _ in range(_ATTEMPTS):
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            files = read_files(connection, [kind], hour, hour + HOUR)
            windows = _windows(connection, hour) if kind == EVENTS and paths is None else None
        contents = _Contents(storage)
        contents.read([file for file in files if paths is None or file.path in paths])
        if not contents.missing or contents.missing <= manifest_paths(connection):
            break
    return contents.differences(hour, windows)


class _Contents:
    """The rows of the files of one hour and kind."""

    def __init__(self, storage: Storage) -> None:
        self.missing: set[str] = set()
        self._storage = storage
        self._damaged: dict[str, str] = {}
        self._records: list[pl.DataFrame] = []
        self._sums = no_totals()

    def read(self, files: Sequence[ArchiveFile]) -> None:
        for file in files:
            try:
                for table in read_checked(self._storage, file):
                    self._add(table, file.kind)
            except MissingFileError:
                self.missing.add(file.path)
            except StorageError as error:
                self._damaged[file.path] = str(error)

    def _add(self, table: pa.Table, kind: str) -> None:
        self._records.append(pl.DataFrame(pl.from_arrow(table.select(["topic", "partition", "offset"]))))
        if kind == EVENTS:
            events = pl.DataFrame(pl.from_arrow(table.select(["timestamp", "bytes", *KEYS.values()])))
            of_table = totals(
                events.with_columns(event_time=pl.col("timestamp").dt.epoch("s")), WINDOW_SECONDS
            )
            self._sums = sum_totals(pl.concat([self._sums, of_table]))

    def differences(self, hour: datetime, windows: pl.DataFrame | None) -> list[Difference]:
        found = [Difference(f"{path}: missing", "it is not there", RESTORE, path) for path in self.missing]
        found += [
            Difference(f"{path}: damaged", figures, RESTORE, path) for path, figures in self._damaged.items()
        ]
        if self._records:
            found += self._twice(hour)
        # Sums without a file that cannot be read must differ, and it is named already.
        return found if found or windows is None else _sums_differ(hour, self._sums, windows)

    def _twice(self, hour: datetime) -> list[Difference]:
        records = pl.concat(self._records)
        twice = records.filter(records.is_duplicated()).unique()
        if twice.is_empty():
            return []
        topic, partition, offset = twice.sort("topic", "partition", "offset").row(0)
        figures = (
            f"{twice.height} records, the first of them topic {topic} partition {partition} offset {offset}"
        )
        return [Difference(f"hour {hour.isoformat()}: records that are kept twice", figures, _TWICE)]


def _windows(connection: psycopg.Connection[Any], hour: datetime) -> pl.DataFrame | None:
    """The hour's rows of ``bytes``; None: retention has removed them, or files."""
    removed = connection.execute(
        "SELECT 1 FROM ops.hours WHERE hour = %s "
        "AND (archive_removed_at IS NOT NULL OR windows_removed_at IS NOT NULL)",
        (hour,),
    ).fetchone()
    if removed is not None:
        return None
    rows = connection.execute((SQL / "integrity" / "windows_of_hour.sql").read_bytes(), {"hour": hour})
    return pl.DataFrame(rows.fetchall(), schema=TOTALS_SCHEMA, orient="row")


def _sums_differ(hour: datetime, sums: pl.DataFrame, windows: pl.DataFrame) -> list[Difference]:
    compared = windows.join(sums, on=_KEY, how="full", coalesce=True, suffix="_of_files")
    wrong = compared.filter(pl.col("value").ne_missing(pl.col("value_of_files"))).sort(_KEY)
    if wrong.is_empty():
        return []
    rows = [
        f"{kind} of {name} at {start}: {value} in bytes, {of_files} in the files"
        for start, kind, name, value, of_files in wrong.head(_SHOWN_ROWS)
        .with_columns(pl.from_epoch("window").dt.strftime("%H:%M"))
        .iter_rows()
    ]
    what = f"hour {hour.isoformat()}: {wrong.height} rows of bytes are not what the files add up to"
    return [Difference(what, "; ".join(rows), _SUMS)]
