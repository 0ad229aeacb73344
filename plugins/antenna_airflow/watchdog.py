"""Notices a streaming driver that hangs: alive or not, it no longer writes its heartbeat."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import psycopg

from antenna_airflow.defaults import QUERIES
from antenna_airflow.process_tree import ProcessTree

logger = logging.getLogger(__name__)

HEARTBEAT_QUERY = (QUERIES / "stream_heartbeat.sql").read_bytes()


class Heartbeat(NamedTuple):
    """The newest sign of life of the driver that holds the stream."""

    driver_pid: int
    heartbeat_at: datetime
    spark_ui_url: str | None = None


@dataclass
class HeartbeatWatch:
    """Judges a driver by how long its heartbeat has not changed, on this machine's monotonic clock.

    The clocks of the database and of this machine are never compared. All durations in seconds.
    """

    started: float
    start_limit: float
    hang_limit: float
    # The driver has ended, but what it was started with has not: a stopped JVM, for example.
    leftover_limit: float
    _newest: Heartbeat | None = field(default=None, init=False)
    _changed: float = field(init=False)

    def __post_init__(self) -> None:
        self._changed = self.started

    def pause(self, now: float) -> None:
        """Nothing could be observed, so nothing can be held against the driver."""
        self._changed = now

    def judge(self, now: float, heartbeat: Heartbeat | None, running_pids: set[int]) -> str | None:
        """Return why the driver must be replaced, or None.

        `heartbeat` is what stands in the database, whoever wrote it; `running_pids` are the processes
        of the driver that is watched.
        """
        if heartbeat is not None and heartbeat.driver_pid in running_pids and heartbeat != self._newest:
            self._newest = heartbeat
            self._changed = now
        silent = now - self._changed
        if self._newest is None:
            limit, what = self.start_limit, "did not report its first heartbeat"
        elif self._newest.driver_pid not in running_pids:
            limit, what = self.leftover_limit, "has ended, but processes around it have not"
        else:
            limit, what = self.hang_limit, "wrote no heartbeat"
        return f"the driver {what} for {silent:.0f} s (limit {limit:.0f} s)" if silent > limit else None


class DriverWatchdog(threading.Thread):
    """Kills the driver's processes when the watch says so; `reason` then tells why.

    `on_start` is called with the driver's first heartbeat.
    """

    def __init__(
        self,
        *,
        tree: Callable[[], ProcessTree | None],
        connect: Callable[[], psycopg.Connection],
        topic: str,
        watch: HeartbeatWatch,
        poll_seconds: float,
        on_start: Callable[[Heartbeat], None],
    ) -> None:
        super().__init__(name="driver-watchdog", daemon=True)
        self._tree = tree
        self._connect = connect
        self._topic = topic
        self._watch = watch
        self._poll_seconds = poll_seconds
        self._on_start = on_start
        self._stopped = threading.Event()
        self.reason: str | None = None

    def run(self) -> None:
        """Watch until stopped or until the driver had to be killed."""
        blind, started = False, False
        while not self._stopped.wait(self._poll_seconds):
            tree = self._tree()
            if tree is None:
                continue
            try:
                heartbeat = self._read_heartbeat()
            except psycopg.Error as error:
                if not blind:
                    logger.warning("Watchdog: cannot read the driver's heartbeat: %s", error)
                blind = True
                self._watch.pause(time.monotonic())
                continue
            blind = False
            pids = tree.pids()
            if not started and heartbeat is not None and heartbeat.driver_pid in pids:
                started = True
                self._on_start(heartbeat)
            self.reason = self._watch.judge(time.monotonic(), heartbeat, pids)
            if self.reason is not None:
                logger.error("Watchdog: %s; killing it, so that it is replaced", self.reason)
                tree.kill()
                return

    def stop(self) -> None:
        """End the watch and wait for the thread."""
        self._stopped.set()
        self.join()

    def _read_heartbeat(self) -> Heartbeat | None:
        with self._connect() as connection:
            row = connection.execute(HEARTBEAT_QUERY, {"topic": self._topic}).fetchone()
        return None if row is None else Heartbeat(*row)
