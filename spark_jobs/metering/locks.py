"""Advisory locks of PostgreSQL: who works on an hour, and who on files that are no driver's.

A lock belongs to the session that took it and ends with it. So whoever gets a lock knows that its former
holder has finished, or has lost its session and can commit nothing more.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, Final

import psycopg

# Advisory locks of this project are (class, number).
_HOURS: Final = 0x616E74  # number: hours since 1970
_MAINTENANCE: Final = 0x616E75

MAINTENANCE_LOCK: Final = (_MAINTENANCE, 0)


def hour_lock(hour: datetime) -> tuple[int, int]:
    """The lock of whoever computes the hour or changes its files in the manifest."""
    return _HOURS, int(hour.timestamp()) // 3600


def wait_for(connection: psycopg.Connection[Any], lock: tuple[int, int]) -> None:
    """Take the lock until the session ends.

    Raises:
        psycopg.errors.LockNotAvailable: another session keeps it for longer than ``lock_timeout``.
    """
    connection.execute("SELECT pg_advisory_lock(%s, %s)", lock)


@contextmanager
def held(connection: psycopg.Connection[Any], lock: tuple[int, int]) -> Iterator[None]:
    """Wait for the lock and hold it for a while. Raises what ``wait_for`` raises."""
    wait_for(connection, lock)
    try:
        yield
    finally:
        _release(connection, lock)


@contextmanager
def held_if_free(connection: psycopg.Connection[Any], lock: tuple[int, int]) -> Iterator[bool]:
    """Hold the lock for a while if nobody else does; yields whether it is held."""
    row = connection.execute("SELECT pg_try_advisory_lock(%s, %s)", lock).fetchone()
    free = row == (True,)
    try:
        yield free
    finally:
        if free:
            _release(connection, lock)


def _release(connection: psycopg.Connection[Any], lock: tuple[int, int]) -> None:
    # A session that has ended has released it.
    with suppress(psycopg.OperationalError):
        connection.execute("SELECT pg_advisory_unlock(%s, %s)", lock)
