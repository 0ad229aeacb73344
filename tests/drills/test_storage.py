"""Drills on the storage: no room, no permission, damaged files."""

import time
from pathlib import Path
from random import Random

import pytest

from .results import Trial
from .rig import Rig

pytestmark = pytest.mark.in_turns(1)
REFUSALS = {"full": "No space left on device", "write-protected": "Read-only file system"}
FILES = "SELECT path, hour FROM ops.archive_files WHERE kind = 'events' AND rows > 1 ORDER BY path"
HOURLY = "SELECT * FROM bytes_hourly ORDER BY timestamp, type, id"


@pytest.mark.parametrize("fault", ["full", "write-protected"])
def test_storage_refuses(rig: Rig, trial: Trial, luck: Random, fault: str) -> None:
    """The archive's file system takes nothing for a while."""
    held, first = luck.uniform(0, 5), rig.driver
    trial.choose(held=held)
    rig.disk.fill() if fault == "full" else rig.disk.protect()
    try:
        rig.wait(lambda: REFUSALS[fault] in first.log + rig.driver.log, 60, f"storage refuses: {fault}")
        time.sleep(held)
    finally:
        rig.disk.release()
    trial.recover(time.time())
    trial.check()


@pytest.mark.parametrize("damage", ["truncated", "bit_flipped"])
def test_archive_file_damaged(rig: Rig, trial: Trial, luck: Random, damage: str) -> None:
    """The batch names the file, and the hour keeps its rows; with the file as it was, it is computed."""
    trial.check()
    path, hour = luck.choice(rig.query(FILES))
    file = rig.storage / path
    content, hourly = file.read_bytes(), rig.query(HOURLY)
    place = luck.randrange(len(content))
    trial.choose(place=place, of=len(content))
    try:
        if damage == "truncated":
            file.write_bytes(content[:place])
        else:
            _flip(file, content, place, luck.randrange(8))
        result = rig.batch.run(rig.batch_arguments(hour))
    finally:
        file.write_bytes(content)
    assert result.code == 1, result.output
    assert f"archive file {path} of {rig.storage} " in result.output
    assert result.output.count("\n") == 1
    assert rig.query(HOURLY) == hourly
    result = rig.batch.run(rig.batch_arguments(hour))
    assert result.code == 0, result.output
    trial.check()


def _flip(file: Path, content: bytes, place: int, bit: int) -> None:
    changed = bytearray(content)
    changed[place] ^= 1 << bit
    file.write_bytes(changed)
