"""A process with all its descendants, to end without leaving an orphan."""

import contextlib
import signal
import time

import psutil


class ProcessTree:
    """The process `root_pid`, its descendants, and those seen earlier whose parent has died since.

    spark-submit's process group is not enough: the Python workers of Spark make a group of their own.
    A process counts by pid and start time, so a reused pid is never touched.
    """

    def __init__(self, root_pid: int) -> None:
        self._members: set[psutil.Process] = set()
        with contextlib.suppress(psutil.NoSuchProcess):
            self._members.add(psutil.Process(root_pid))

    def alive(self) -> set[psutil.Process]:
        """Find new descendants and return every member that still runs (zombies do not)."""
        for member in tuple(self._members):
            with contextlib.suppress(psutil.NoSuchProcess):
                self._members.update(member.children(recursive=True))
        self._members = {member for member in self._members if _runs(member)}
        return set(self._members)

    def pids(self) -> set[int]:
        """The pids of the members that still run."""
        return {member.pid for member in self.alive()}

    def end(self, grace_seconds: float) -> None:
        """SIGTERM to every member; SIGKILL to those that still run `grace_seconds` later."""
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + grace_seconds
        # Polled, not waited for: waiting would take the exit status from whoever started the root.
        while self.alive() and time.monotonic() < deadline:
            time.sleep(0.1)
        self.kill()

    def kill(self) -> None:
        """SIGKILL to every member, which ends a stopped process too."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        for member in self.alive():
            with contextlib.suppress(psutil.NoSuchProcess):
                member.send_signal(number)


def _runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
