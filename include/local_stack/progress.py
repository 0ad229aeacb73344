"""What `make run` shows while it works: one line for each step, with its seconds."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console

STILL_EVERY_SECONDS = 15


@dataclass
class Steps:
    """Shows steps on a console, and keeps their seconds in `durations`."""

    console: Console
    durations: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, title: str) -> Iterator[Callable[[str], None]]:
        """Run a step; yields a function that shows how far it is."""
        started = time.monotonic()
        detail = ""
        ended = threading.Event()
        status = self.console.status(title)

        def show(text: str) -> None:
            nonlocal detail
            detail = f" ({text})" if text else ""
            status.update(title + detail)

        def remind() -> None:
            # Where there is no terminal to draw a spinner on, a slow step says that it is alive.
            while not ended.wait(STILL_EVERY_SECONDS):
                seconds = time.monotonic() - started
                self.console.print(f"  … {title}{detail}, {seconds:.0f} s", highlight=False, markup=False)

        if self.console.is_terminal:
            status.start()
        else:
            threading.Thread(target=remind, daemon=True).start()
        try:
            yield show
        except BaseException:
            self._tell("✗", "red", title, started)
            raise
        else:
            self._tell("✓", "green", title + detail, started)
        finally:
            ended.set()
            status.stop()

    def _tell(self, mark: str, color: str, text: str, started: float) -> None:
        seconds = self.durations[text] = time.monotonic() - started
        self.console.print(f"[{color}]{mark}[/] {text}  [dim]{seconds:.1f} s[/]", highlight=False)
