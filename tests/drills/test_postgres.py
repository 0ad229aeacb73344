"""Drills on PostgreSQL: it restarts, cuts connections, holds a lock, and has no room left."""

import time
from random import Random

import pytest

from .driver import Driver
from .results import Trial
from .rig import Rig

pytestmark = pytest.mark.in_turns(2)
CUTS = {
    "before the totals arrive": (b"COPY partial_totals", False),
    "in place of the answer to the totals": (b"COPY partial_totals", True),
    "before COMMIT arrives": (b"COMMIT", False),
}
END_SESSIONS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


def test_postgres_restarted(rig: Rig, trial: Trial, luck: Random) -> None:
    """The server is stopped in order, or killed, and is back after a while."""
    how, pause = luck.choice(("stop", "kill")), luck.uniform(0, 5)
    trial.choose(how=how, away=pause)
    driver, postgres = rig.driver, rig.servers.postgres
    postgres.stop() if how == "stop" else postgres.kill()
    time.sleep(pause)
    postgres.start()
    trial.recover(time.time())
    trial.check()
    _lives(rig, driver)


def test_connections_cut_while_idle(rig: Rig, trial: Trial, luck: Random) -> None:
    """Every session is ended; most of the time the driver's wait for the next micro-batch."""
    pause, driver = luck.uniform(0, 2), rig.driver
    trial.choose(pause=pause)
    time.sleep(pause)
    rig.query(END_SESSIONS)
    trial.recover(time.time())
    trial.check()
    _lives(rig, driver)


def test_connection_cut_in_the_transaction(rig: Rig, trial: Trial, luck: Random) -> None:
    """Nothing of the transaction may stay, and nothing may be missing."""
    moment, driver = luck.choice(list(CUTS)), rig.driver
    trial.choose(moment=moment)
    words, answered = CUTS[moment]
    _cut(rig, trial, words, answered=answered)
    trial.check()
    _lives(rig, driver)


def test_connection_cut_after_commit_was_sent(rig: Rig, trial: Trial, luck: Random) -> None:
    """PostgreSQL has committed, and its answer never comes."""
    times, driver = luck.randint(1, 3), rig.driver
    trial.choose(times=times)
    for _ in range(times):
        _cut(rig, trial, b"COMMIT", answered=True)
    trial.check()
    _lives(rig, driver)


def test_lock_on_bytes(rig: Rig, trial: Trial, luck: Random) -> None:
    """Somebody holds a lock on the table for a while."""
    held, driver = luck.uniform(2, 10), rig.driver
    trial.choose(held=held)
    with rig.connect() as connection, connection.transaction():
        connection.execute("LOCK TABLE bytes IN ACCESS EXCLUSIVE MODE")
        time.sleep(held)
    trial.recover(time.time())
    trial.check()
    _lives(rig, driver)


def test_disk_of_postgres_full(rig: Rig, trial: Trial, luck: Random) -> None:
    """The file system of the database is full for a while; the server may crash of it."""
    held = luck.uniform(0, 5)
    trial.choose(held=held)
    first, disk, postgres = rig.driver, rig.servers.database_disk, rig.servers.postgres
    disk.fill()
    try:
        rig.wait(
            lambda: "No space left on device" in first.log + rig.driver.log or not postgres.is_running,
            60,
            "PostgreSQL refuses for want of room",
        )
        time.sleep(held)
    finally:
        disk.release()
    if not postgres.is_running:
        postgres.start()
    postgres.wait_until_ready()
    trial.recover(time.time())
    trial.check()


def _cut(rig: Rig, trial: Trial, words: bytes, *, answered: bool) -> None:
    before = rig.proxy.cuts
    rig.proxy.cut_once(words, answered=answered)
    rig.wait(lambda: rig.proxy.cuts > before, 30, "a connection is cut")
    trial.recover(time.time())


def _lives(rig: Rig, driver: Driver) -> None:
    assert rig.driver is driver
    assert driver.exit_code is None
