"""Drills on zombies: a driver that wakes up after its successor started, and two drivers at once."""

import signal
import time
from random import Random

import pytest

from metering.heartbeat import EXIT_SUPERSEDED

from .driver import Driver
from .results import Trial
from .rig import Rig

pytestmark = pytest.mark.in_turns(1)
IN_TRANSACTION = ("files_renamed", "before_upsert", "after_upsert")


@pytest.mark.parametrize("where", ["anywhere", "in_transaction"])
def test_frozen_driver_wakes_up(rig: Rig, trial: Trial, luck: Random, where: str) -> None:
    """SIGSTOP, a successor that commits, SIGCONT: the older driver commits nothing more, and ends.

    One that freezes inside its transaction holds the topic's row: PostgreSQL ends the transaction after 15 s.
    """
    older = rig.driver
    if where == "anywhere":
        pause = luck.uniform(0, 2)
        trial.choose(pause=pause)
        time.sleep(pause)
        older.signal(signal.SIGSTOP)
    else:
        seam = luck.choice(IN_TRANSACTION)
        trial.choose(seam=seam)
        older.order(seam, "SIGSTOP")
        rig.wait(older.obeyed, 30, f"the driver comes to the seam {seam}")
    frozen = time.time()
    rig.supervisor.give_up_current()
    trial.recover(frozen)
    older.signal(signal.SIGCONT)
    _ends_as_the_older_one(older)
    trial.check()


@pytest.mark.parametrize("checkpoints", ["same", "different"])
def test_two_drivers_at_once(rig: Rig, trial: Trial, luck: Random, checkpoints: str) -> None:
    """A second driver is started beside the first, with the same or another checkpoint path."""
    pause = luck.uniform(0, 1)
    trial.choose(pause=pause)
    time.sleep(pause)
    name = f"second-{time.monotonic_ns()}"
    other = rig.start_other(name, checkpoint="checkpoint" if checkpoints == "same" else name)
    older = rig.supervisor.adopt(other)
    _ends_as_the_older_one(older)
    trial.recover(time.time())
    assert other.exit_code is None
    trial.check()


def _ends_as_the_older_one(older: Driver) -> None:
    assert older.wait(90) == EXIT_SUPERSEDED, older.log[-2000:]
    assert "a newer driver " in older.log
    assert " meters topic " in older.log
    older.kill()
