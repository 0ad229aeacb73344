"""Staging, publishing, withdrawing and sweeping archive files."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as pads
import pytest

from metering.archive import EVENT_FILE_SCHEMA, EVENTS, StagedFile, Storage, StorageError, hour_folder

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
