"""Streaming drivers of a drill under bare spark-submit, and a supervisor that replaces those that end."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from include.local_stack import processes
from include.local_stack.settings import STACK_MARKER

POLL_SECONDS = 0.05


class Driver:
    """One driver with all its processes. `log_file` has its output; faulty_driver.py reads `orders`."""

    def __init__(self, folder: Path, command: list[str], environment: dict[str, str]) -> None:
        self.folder = folder
        self.orders = folder / "orders"
        self.orders.mkdir(parents=True)
        self.log_file = folder / "driver.log"
        marks = {STACK_MARKER: str(folder), "ANTENNA_DRILL_ORDERS": str(self.orders)}
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**environment, **marks},
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    @property
    def jvm_pid(self) -> int:
        """spark-submit becomes its JVM, and leads the process group."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; as spark-submit told it."""
        return self._process.poll()

    def wait(self, seconds: float) -> int:
        """Wait for its end; returns the exit code."""
        return self._process.wait(seconds)

    def signal(self, number: signal.Signals) -> None:
        """Signal JVM and driver, and the Python workers, which make a group of their own."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
        processes.send(processes.find(self.folder), number)

    def kill(self) -> None:
        """End every process of it at once, and wait until they are gone."""
        self.signal(signal.SIGKILL)
        self._process.wait(30)
        assert processes.wait_until(self.is_gone, 20), f"processes of {self.folder} do not end"

    def is_gone(self) -> bool:
        """Whether not one of its processes is left."""
        return not processes.find(self.folder)

    def order(self, seam: str, number: str, times: int = 1) -> None:
        """Have it signal itself when it comes to a seam for the `times`th time from now."""
        made = self.orders / "making"
        made.write_text(f"{seam} {number} {times}")
        made.rename(self.orders / "fault")

    def obeyed(self) -> bool:
        """Whether the order was carried out."""
        return not (self.orders / "fault").exists()

    def shift_clock(self, seconds: float) -> None:
        """Set its wall clock so much off."""
        made = self.orders / "making-clock"
        made.write_text(str(seconds))
        made.rename(self.orders / "clock")


class Supervisor:
    """Keeps one driver running, as Airflow does; `ended` holds the drivers that ended by themselves."""

    def __init__(self, start: Callable[[int], Driver]) -> None:
        self._start = start
        self._lock = threading.RLock()
        self._number = 0
        self._wanted = False
        self._closed = False
        self._current: Driver | None = None
        self.ended: list[Driver] = []
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    @property
    def current(self) -> Driver:
        """The driver that runs, or the last one where none does."""
        with self._lock:
            assert self._current is not None, "no driver was started"
            return self._current

    def start(self) -> None:
        """Keep one running from now on."""
        with self._lock:
            self._wanted = True
        if not self._thread.is_alive():
            self._thread.start()
        assert processes.wait_until(lambda: self._current is not None, 10)

    def hold(self) -> None:
        """Start no other until `start`."""
        with self._lock:
            self._wanted = False

    def give_up_current(self) -> Driver:
        """Leave the running driver to the caller, and start its successor at once."""
        with self._lock:
            driver = self.current
            self._begin()
        return driver

    def adopt(self, driver: Driver) -> Driver:
        """Keep this driver running from now on; the one before is left to the caller."""
        with self._lock:
            before, self._current = self.current, driver
        return before

    def stop(self) -> None:
        """Kill what runs and start nothing more."""
        with self._lock:
            self._wanted = False
            self._closed = True
        if self._thread.is_alive():
            self._thread.join(10)
        if self._current is not None:
            self._current.kill()

    def _run(self) -> None:
        while not self._closed:
            with self._lock:
                if self._wanted and (self._current is None or self._current.exit_code is not None):
                    if self._current is not None:
                        self.ended.append(self._current)
                    self._begin()
            time.sleep(POLL_SECONDS)

    def _begin(self) -> None:
        self._number += 1
        self._current = self._start(self._number)
