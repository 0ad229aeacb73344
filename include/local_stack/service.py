"""A server process: how it is prepared, started, found ready and ended."""

import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path

import psutil

from include.local_stack import processes
from include.local_stack.settings import StackError


class Service(ABC):
    """One server. The stack hands `command()` to its supervisor; tests start and stop it themselves."""

    name: str
    stop_signal = signal.SIGTERM

    def __init__(self, log_file: Path) -> None:
        self.log_file = log_file
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def prepare(self) -> None:
        """Write what the server needs before it starts. Idempotent."""

    @abstractmethod
    def command(self) -> list[str]:
        """The command line; it holds no secret."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether the server answers."""

    def environment(self) -> dict[str, str]:
        """Variables added to the caller's."""
        return {}

    def start(self, timeout: float = 60) -> None:
        """Start the server as a child in a process group of its own, and wait until it answers."""
        self.prepare()
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment()},
                cwd=self.log_file.parent,
                start_new_session=True,
            )
        self.wait_until_ready(timeout)

    def wait_until_ready(self, timeout: float = 60) -> None:
        """Raise StackError with the end of the log when the server does not answer in `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not self.is_ready():
            ended = self._process is not None and self._process.poll() is not None
            if ended or time.monotonic() > deadline:
                raise StackError(self.failure("ended" if ended else f"did not answer in {timeout:.0f} s"))
            time.sleep(0.1)

    def failure(self, what: str) -> str:
        """A message with the end of the service's log."""
        lines = self.log_file.read_text(errors="replace").splitlines() if self.log_file.exists() else []
        return "\n".join([f"{self.name} {what}. The end of {self.log_file}:", *lines[-15:]])

    def stop(self, timeout: float = 30) -> None:
        """End the server in order, or by force after `timeout` seconds."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(self.stop_signal)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout)
        self.kill()

    def kill(self) -> None:
        """End the server and its children at once, as a crash would."""
        if self._process is None:
            return
        group = [process for process in psutil.process_iter() if _group_of(process) == self._process.pid]
        processes.send(group, signal.SIGKILL)
        self._process.wait()
        # A successor would find its predecessor's children at work on the same data.
        processes.wait_until(lambda: not any(map(processes.runs, group)), 10)
        self._process = None

    def restart(self) -> None:
        """Stop in order and start again on the same port with the same data."""
        self.stop()
        self.start()

    @property
    def is_running(self) -> bool:
        """Whether the process that `start` made runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process that `start` made. Raises StackError before and after its life."""
        if self._process is None:
            raise StackError(f"{self.name} is not running")
        return self._process.pid


def _group_of(process: psutil.Process) -> int | None:
    with suppress(ProcessLookupError):
        return os.getpgid(process.pid)
    return None
