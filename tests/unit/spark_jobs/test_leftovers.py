"""Which files are leftovers, and that sweeping removes nothing else."""

from pathlib import Path

import pytest

from metering.archive import MAINTENANCE_EPOCH, Storage
from metering.leftovers import epoch_of, sweep


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path))


def put(storage: Storage, *paths: str) -> None:
    for path in paths:
        file = Path(storage.full(path))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")


@pytest.mark.parametrize(
    ("path", "epoch"),
    [
        ("events/year=2020/month=9/day=20/hour=12/e7-p2-40-40-abc.parquet", 7),
        ("rejected/year=2020/month=9/day=20/hour=12/e12-.parquet", 12),
        ("events/year=2020/month=9/day=20/hour=12/e0-p2-40-40-abc.parquet", MAINTENANCE_EPOCH),
        ("_staging/epoch=7/e7-p2-40-40-abc.parquet", 7),
        ("_staging/probe-1", None),
        ("events/year=2020/month=9/day=20/hour=12/copy-of-e7-p2.parquet", None),
        ("events/year=2020/month=9/day=20/hour=12/part-0.parquet", None),
    ],
)
def test_epoch_of_a_file(path: str, epoch: int | None) -> None:
    assert epoch_of(path) == epoch


def test_only_uncommitted_files_of_dead_writers_go(storage: Storage) -> None:
    put(
        storage, "events/h/e1-a", "events/h/e1-b", "events/h/e2-c", "_staging/epoch=1/e1-d", "rejected/h/e1-e"
    )
    removed = sweep(storage, lambda: {"events/h/e1-a"}, lambda epoch: epoch == 1)
    assert set(removed) == {"events/h/e1-b", "_staging/epoch=1/e1-d", "rejected/h/e1-e"}
    assert storage.files("").keys() == {"events/h/e1-a", "events/h/e2-c"}


def test_what_is_written_after_the_listing_is_never_removed(storage: Storage) -> None:
    """As by a process that stops in the middle and goes on when others have committed."""
    put(storage, "events/h/e1-old")

    def read_manifest() -> set[str]:
        put(storage, "events/h/e1-new")
        return set()

    assert sweep(storage, read_manifest, lambda epoch: True) == ["events/h/e1-old"]
    assert storage.files("").keys() == {"events/h/e1-new"}


def test_a_file_that_is_gone_already_is_fine(storage: Storage) -> None:
    put(storage, "events/h/e1-a", "events/h/e1-b")

    def read_manifest() -> set[str]:
        Path(storage.full("events/h/e1-a")).unlink()
        return set()

    sweep(storage, read_manifest, lambda epoch: True)
    assert storage.files("") == {}
