"""The processes of a stack, found by a mark in their environment, also when nothing supervises them."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

from include.local_stack.settings import STACK_MARKER


def find(home: Path) -> list[psutil.Process]:
    """Every process of the stack in `home`, their children included, this one and its parents excluded."""
    own = {process.pid for process in (psutil.Process(), *psutil.Process().parents())}
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(STACK_MARKER) == str(home):
                found[process.pid] = process
                found.update((child.pid, child) for child in process.children(recursive=True))
    return [process for pid, process in found.items() if pid not in own and runs(process)]


def runs(process: psutil.Process) -> bool:
    """Whether a process still does; a zombie does not."""
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def command_line(process: psutil.Process) -> str:
    """The words of a process's command, or nothing when it has ended."""
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def send(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    """Signal the processes that still run."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether the condition came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def pss_bytes(processes: Iterable[psutil.Process]) -> int:
    """Memory of the processes, shared pages counted once (where the system tells: Linux)."""
    total = 0
    for process in processes:
        with contextlib.suppress(psutil.Error, OSError):
            memory = process.memory_full_info()
            total += getattr(memory, "pss", memory.uss)
    return total
