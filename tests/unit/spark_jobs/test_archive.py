"""Staging, publishing, withdrawing and reading archive files."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.fs as pafs
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
from tests.object_store import ObjectStore

HOUR = 1_600_603_200


def stage(storage: Storage, epoch: int = 1) -> StagedFile:
    when = datetime.fromtimestamp(HOUR + 5, UTC)
    row = dict(zip(EVENT_FILE_SCHEMA.names, (when, "d", "a", 7, "SKYPE", "devices", 2, 40), strict=True))
    table = pa.Table.from_pylist([row], EVENT_FILE_SCHEMA)
    return storage.stage([table], EVENTS, HOUR, epoch, {2: (40, 40)}, 7)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


class Place(NamedTuple):
    """Where a storage path points to: what is there, and how to remove a file."""

    storage: Storage
    files: Callable[[], set[str]]
    remove: Callable[[str], None]


@pytest.fixture(params=["folder", "object_store"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A folder, and a folder of an object store."""
    if request.param == "folder":
        return Place(Storage(str(tmp_path)), lambda: files(tmp_path), lambda path: (tmp_path / path).unlink())
    store: ObjectStore = request.getfixturevalue("object_store")
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path.name
    return Place(
        Storage(store.uri(folder)), lambda: {*store.keys(folder)}, lambda path: store.delete(folder, path)
    )


def test_a_staged_file_is_no_part_of_the_archive_until_published(place: Place) -> None:
    storage = place.storage
    storage.check_writable()
    assert place.files() == set()
    file = stage(storage)
    assert file.path.startswith("events/year=2020/month=9/day=20/hour=12/e1-p2-40-40-")
    assert place.files() == {file.staging_path}
    storage.publish([file])
    storage.publish([file])
    assert place.files() == {file.path}
    events = pads.dataset(storage.full("events"), filesystem=storage.filesystem, format="parquet")
    assert events.to_table().column("bytes").to_pylist() == [7]


def test_publish_a_vanished_file(place: Place) -> None:
    storage = place.storage
    file = stage(storage)
    place.remove(file.staging_path)
    with pytest.raises(StorageError, match="has vanished"):
        storage.publish([file])


def test_withdraw(place: Place) -> None:
    storage = place.storage
    published, staged = stage(storage), stage(storage)
    storage.publish([published])
    storage.withdraw([published, staged])
    storage.withdraw([published, staged])
    assert place.files() == set()


def test_read_what_was_written(place: Place) -> None:
    storage = place.storage
    file = stage(storage)
    storage.publish([file])
    (table,) = storage.read(file.path, EVENTS, file.sha256)
    assert table.schema == EVENT_FILE_SCHEMA
    assert table.num_rows == file.rows == 1
    (column,) = storage.read(file.path, EVENTS, None, ["bytes"])
    assert column.to_pydict() == {"bytes": [7]}
    assert storage.files(EVENTS) == {file.path: file.file_size}


def test_several_tables_become_row_groups_of_one_file(place: Place) -> None:
    storage = place.storage
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


def test_a_missing_file(place: Place) -> None:
    with pytest.raises(MissingFileError, match=r"events/gone\.parquet of .* is missing"):
        list(place.storage.read("events/gone.parquet", EVENTS, "00"))


def test_what_cannot_be_written_leaves_no_half_file(place: Place) -> None:
    storage = place.storage

    def tables() -> Iterator[pa.Table]:
        yield from storage.read(stage(storage).staging_path, EVENTS, None)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        storage.stage(tables(), EVENTS, HOUR, 2, {2: (40, 40)}, 7)
    assert not any("epoch=2" in path for path in place.files())


def test_not_writable(tmp_path: Path) -> None:
    occupied = tmp_path / "a-file"
    occupied.write_text("")
    with pytest.raises(StorageError, match=r"a-file.* is not writable.*change its permissions"):
        Storage(str(occupied)).check_writable()


def test_an_object_store_that_refuses(object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in object_store.environment.items():
        monkeypatch.setenv(name, value)
    storage = Storage("s3a://no-such-bucket/archive")
    with pytest.raises(StorageError, match=r"'s3a://no-such-bucket/archive' is not writable.*AWS_ACCESS_KEY"):
        storage.check_writable()


def test_google_cloud_storage_is_known() -> None:
    storage = Storage("gs://bucket/folder")
    assert isinstance(storage.filesystem, pafs.GcsFileSystem)
    assert storage.full("events") == "bucket/folder/events"


def test_unknown_scheme() -> None:
    with pytest.raises(StorageError, match=r"storage path 'nfs4://x/y' cannot be opened.*s3a://bucket"):
        Storage("nfs4://x/y")


def test_hour_folder_has_no_zero_padding() -> None:
    assert hour_folder("events", 1_609_470_000) == "events/year=2021/month=1/day=1/hour=3"
