"""Kills a scheduler that hangs, so that supervisord starts another.

When PostgreSQL goes away, Airflow's scheduler ends its loop, and then waits for its tasks for as long as they
run. The stream has no end: to supervisord such a scheduler runs, but it schedules nothing any more.
"""

import logging
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import NoReturn
from xmlrpc.client import Error as RpcError

from include.local_stack.airflow_client import AirflowClient
from include.local_stack.settings import Settings, StackError
from include.local_stack.supervision import Supervisor

logger = logging.getLogger(__name__)

POLL_SECONDS = 5
# On top of the 15 s without a heartbeat after which Airflow calls a scheduler unhealthy.
UNHEALTHY_SECONDS = 10
START_SECONDS = 60


@dataclass
class SchedulerWatch:
    """Judges one scheduler after the other by what the API server says. All durations in seconds."""

    component_health: Callable[[], dict[str, str]]
    _unhealthy_since: float | None = field(default=None, init=False)

    def hangs(self, now: float, uptime: float) -> bool:
        """Whether a scheduler that runs for `uptime` must be replaced; `now` is on the monotonic clock.

        Nothing is held against it while its database is away, or while the API server does not answer.
        """
        try:
            health = self.component_health()
        except StackError:
            health = {}
        hung = health.get("metadatabase") == "healthy" and health.get("scheduler") != "healthy"
        if not hung or uptime < START_SECONDS:
            self._unhealthy_since = None
            return False
        if self._unhealthy_since is None:
            self._unhealthy_since = now
        return now - self._unhealthy_since >= UNHEALTHY_SECONDS


def main() -> NoReturn:
    """Watch until the end of the stack."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    # httpx tells of each request.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    settings = Settings.from_environment()
    supervisor = Supervisor(settings)
    # Health is told to everybody: no login is needed.
    watch = SchedulerWatch(AirflowClient(settings.airflow_url, "", "").component_health)
    while True:
        time.sleep(POLL_SECONDS)
        with suppress(OSError, RpcError, HTTPException):
            scheduler = supervisor.states().get("scheduler")
            if scheduler is None or scheduler.state != "RUNNING":
                continue
            if watch.hangs(time.monotonic(), scheduler.uptime_seconds):
                logger.warning("the scheduler (pid %s) gives no sign of life: killed", scheduler.pid)
                os.kill(scheduler.pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
