"""Drills on the driver: it dies at any moment, at every seam of a micro-batch, and its checkpoint is lost."""

import os
import signal
import time
from pathlib import Path
from random import Random

import pytest

from .results import Trial
from .rig import Rig

pytestmark = pytest.mark.in_turns(2)
SEAMS = ("files_staged", "files_renamed", "before_upsert", "after_upsert", "after_commit")


def test_driver_killed(rig: Rig, trial: Trial, luck: Random) -> None:
    """kill -9 of the driver's Python process, of its JVM, or of everything at once, at a random moment."""
    victim, times = luck.choice(("python", "jvm", "everything")), luck.choice((1, 1, 2))
    pauses = [luck.uniform(0, 2) for _ in range(times)]
    trial.choose(victim=victim, pauses=pauses)
    for pause in pauses:
        time.sleep(pause)
        driver = rig.driver
        if victim == "everything":
            driver.signal(signal.SIGKILL)
        else:
            os.kill(rig.driver_pid() if victim == "python" else driver.jvm_pid, signal.SIGKILL)
        trial.recover(time.time())
        rig.wait(driver.is_gone, 20, "every process of the killed driver is gone")
    trial.check()


@pytest.mark.parametrize("seam", SEAMS)
def test_driver_killed_at_a_seam(rig: Rig, trial: Trial, luck: Random, seam: str) -> None:
    """The driver, with its JVM, kills itself exactly there."""
    times = luck.randint(1, 4)
    trial.choose(micro_batch=times)
    driver = rig.driver
    driver.order(seam, "SIGKILL", times)
    rig.wait(driver.obeyed, 30, f"the driver comes to the seam {seam}")
    trial.recover(time.time())
    assert driver.exit_code == -signal.SIGKILL
    trial.check()


@pytest.mark.parametrize("damage", ["last_commit_deleted", "deleted", "truncated"])
def test_checkpoint_lost(rig: Rig, trial: Trial, luck: Random, damage: str) -> None:
    """Spark's checkpoint is damaged under a running driver, which is then killed."""
    pause = luck.uniform(0, 3)
    trial.choose(seconds_with_damage=pause)
    (checkpoint,) = (rig.folder / "checkpoint").iterdir()
    _damage(checkpoint, damage)
    time.sleep(pause)
    rig.driver.signal(signal.SIGKILL)
    trial.recover(time.time())
    trial.check()


def _damage(checkpoint: Path, damage: str) -> None:
    newest = max((checkpoint / "commits").glob("[0-9]*"), key=lambda file: int(file.name))
    if damage == "last_commit_deleted":
        newest.unlink()
    elif damage == "truncated":
        newest.write_bytes(newest.read_bytes()[:1])
    else:
        for folder in sorted(checkpoint.rglob("*"), reverse=True):
            folder.rmdir() if folder.is_dir() else folder.unlink(missing_ok=True)


def test_driver_stopped_and_leftovers_swept(rig: Rig, trial: Trial, luck: Random) -> None:
    """SIGTERM ends the driver in order; what a dead one left in the storage, its successor removes."""
    driver = rig.driver
    rig.supervisor.hold()
    driver.signal(signal.SIGTERM)
    assert driver.wait(20) == 128 + signal.SIGTERM
    rig.wait(driver.is_gone, 5, "every process of the stopped driver is gone")
    assert rig.query("SELECT state FROM ops.streams") == [("stopped",)]
    leftovers = [
        rig.storage / "events/year=2023/month=11/day=14/hour=22/e1-dead.parquet",
        rig.storage / "rejected/year=2023/month=11/day=14/hour=22/e1-dead.parquet",
        rig.storage / "_staging/epoch=0/e0-dead.parquet",
    ]
    for leftover in leftovers:
        leftover.parent.mkdir(parents=True, exist_ok=True)
        leftover.write_bytes(luck.randbytes(luck.randrange(10_000)))
    rig.supervisor.start()
    trial.recover(time.time())
    assert [leftover for leftover in leftovers if leftover.exists()] == []
    ((epoch,),) = rig.query("SELECT epoch FROM ops.streams")
    checkpoints = [folder.name for folder in (rig.folder / "checkpoint").iterdir()]
    assert checkpoints == [f"{rig.topic}-epoch-{epoch}"]
    trial.check()
