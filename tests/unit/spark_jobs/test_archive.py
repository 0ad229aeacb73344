"""Staging, publishing, withdrawing and reading archive files."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as pads
import pytest

from metering.archive import (
    EVENT_FILE_SCHEMA,
    EVENTS,
    MissingFileError,
    StagedFile,
    Storage,
    StorageError,
    hour_folder,
)

HOUR = 1_600_603_200


def stage(storage: Storage, epoch: int = 1) -> StagedFile:
    when = datetime.fromtimestamp(HOUR + 5, UTC)
    row = dict(zip(EVENT_FILE_SCHEMA.names, (when, "d", "a", 7, "SKYPE", "devices", 2, 40), strict=True))
    table = pa.Table.from_pylist([row], EVENT_FILE_SCHEMA)
    return storage.stage([table], EVENTS, HOUR, epoch, {2: (40, 40)}, 7)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_staged_file_is_no_part_of_the_archive_until_published(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    file = stage(storage)
    assert file.path.startswith("events/year=2020/month=9/day=20/hour=12/e1-p2-40-40-")
    assert files(tmp_path) == {file.staging_path}
    storage.publish([file])
    storage.publish([file])
    assert files(tmp_path) == {file.path}
    assert pads.dataset(tmp_path / "events", format="parquet").to_table().column("bytes").to_pylist() == [7]


def test_publish_a_vanished_file(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    file = stage(storage)
    (tmp_path / file.staging_path).unlink()
    with pytest.raises(StorageError, match="has vanished"):
        storage.publish([file])


def test_withdraw(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    published, staged = stage(storage), stage(storage)
    storage.publish([published])
    storage.withdraw([published, staged])
    assert files(tmp_path) == set()


def test_read_what_was_written(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    file = stage(storage)
    storage.publish([file])
    (table,) = storage.read(file.path, EVENTS, file.sha256)
    assert table.schema == EVENT_FILE_SCHEMA
    assert table.num_rows == file.rows == 1
    (column,) = storage.read(file.path, EVENTS, None, ["bytes"])
    assert column.to_pydict() == {"bytes": [7]}
    assert storage.files(EVENTS) == {file.path: file.file_size}


def test_several_tables_become_row_groups_of_one_file(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    (one,) = storage.read(stage(storage).staging_path, EVENTS, None)
    file = storage.stage(iter([one, one]), EVENTS, HOUR, 1, {2: (40, 40)}, 14)
    assert [table.num_rows for table in storage.read(file.staging_path, EVENTS, file.sha256)] == [1, 1]
    assert file.rows == 2


def test_flipped_bits_and_cuts_are_found(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    file = stage(storage)
    storage.publish([file])
    path = tmp_path / file.path
    content = path.read_bytes()
    for place in range(0, len(content), 3):
        flipped = bytearray(content)
        flipped[place] ^= 1 << (place % 8)
        for harmed in (bytes(flipped), content[:place]):
            path.write_bytes(harmed)
            with pytest.raises(StorageError, match=f"{path.name}.* is damaged: its {len(harmed)} bytes"):
                list(storage.read(file.path, EVENTS, file.sha256))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"events/gone\.parquet of .* is missing"):
        list(Storage(str(tmp_path)).read("events/gone.parquet", EVENTS, "00"))


def test_what_cannot_be_written_leaves_no_half_file(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))

    def tables() -> Iterator[pa.Table]:
        yield from storage.read(stage(storage).staging_path, EVENTS, None)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        storage.stage(tables(), EVENTS, HOUR, 2, {2: (40, 40)}, 7)
    assert not any("epoch=2" in path for path in files(tmp_path))


def test_not_writable(tmp_path: Path) -> None:
    occupied = tmp_path / "a-file"
    occupied.write_text("")
    with pytest.raises(StorageError, match=r"a-file.* is not writable.*change its permissions"):
        Storage(str(occupied)).check_writable()


def test_unknown_scheme() -> None:
    with pytest.raises(StorageError, match=r"storage path 'nfs4://x/y' cannot be opened.*s3a://bucket"):
        Storage("nfs4://x/y")


def test_hour_folder_has_no_zero_padding() -> None:
    assert hour_folder("events", 1_609_470_000) == "events/year=2021/month=1/day=1/hour=3"
