"""Shows how far a long send is: a bar on a terminal, log lines elsewhere."""

import logging
import sys
import time
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LOG_EVERY_SECONDS: Final = 30

logger = logging.getLogger(__name__)


class SendProgress:
    """Progress towards ``total`` events; None: nobody knows how many they will be."""

    def __init__(self, label: str, total: int | None) -> None:
        console = Console(file=sys.stderr)
        self._label = label
        self._total = total
        self._sent = 0
        self._started_at = self._logged_at = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(label, total=total, rate="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def advance(self, events: int) -> None:
        """Count events as sent."""
        self._sent += events
        now = time.monotonic()
        rate = f"{self._sent / max(now - self._started_at, 0.001):,.0f} events/s"
        self._bar.update(self._task, completed=self._sent, rate=rate)
        if self._bar.disable and now - self._logged_at >= LOG_EVERY_SECONDS:
            self._logged_at = now
            goal = "" if self._total is None else f" of {self._total}"
            logger.info("%s: %d%s events sent, %s", self._label, self._sent, goal, rate)
