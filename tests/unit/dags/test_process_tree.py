"""Ending real processes with all their descendants."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from antenna_airflow.process_tree import ProcessTree

# A parent whose child left its process group, as Spark's Python workers do; both ignore SIGTERM if told to.
PARENT = """
import os, signal, subprocess, sys, time
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], process_group=0)
print(child.pid, flush=True)
time.sleep(600)
"""
CHILD = "import time; time.sleep(600)"
STUBBORN_CHILD = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


Starter = Callable[..., tuple[subprocess.Popen[str], int]]


@pytest.fixture
def start() -> Iterator[Starter]:
    started = []

    def run(child: str = CHILD, *arguments: str) -> tuple[subprocess.Popen[str], int]:
        command = [sys.executable, "-c", PARENT, child, *arguments]
        parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert parent.stdout is not None
        child_pid = int(parent.stdout.readline())
        time.sleep(0.3)
        started.extend([parent.pid, child_pid])
        return parent, child_pid

    yield run
    for pid in started:
        if psutil.pid_exists(pid):
            psutil.Process(pid).kill()


def is_gone(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_ends_descendants_outside_the_process_group(start: Starter) -> None:
    parent, child = start()
    tree = ProcessTree(parent.pid)
    assert tree.pids() == {parent.pid, child}
    tree.end(grace_seconds=3)
    assert is_gone(child)
    assert parent.wait(timeout=5) == -signal.SIGTERM, "the exit status is left to whoever started it"


def test_kills_what_ignores_sigterm_once_the_grace_is_over(start: Starter) -> None:
    parent, child = start(STUBBORN_CHILD, "stubborn")
    started = time.monotonic()
    ProcessTree(parent.pid).end(grace_seconds=0.5)
    assert time.monotonic() - started >= 0.5
    assert is_gone(child)
    assert parent.wait(timeout=5) == -signal.SIGKILL


def test_kills_stopped_processes(start: Starter) -> None:
    parent, child = start()
    for pid in (parent.pid, child):
        os.kill(pid, signal.SIGSTOP)
    ProcessTree(parent.pid).kill()
    assert is_gone(child)
    assert parent.wait(timeout=5) == -signal.SIGKILL


def test_remembers_descendants_that_lost_their_parent(start: Starter) -> None:
    parent, child = start()
    tree = ProcessTree(parent.pid)
    assert child in tree.pids()
    parent.kill()
    parent.wait()
    assert tree.pids() == {child}
    tree.kill()
    assert is_gone(child)


def test_a_root_that_is_gone_is_an_empty_tree(start: Starter) -> None:
    parent, _ = start()
    ProcessTree(parent.pid).kill()
    parent.wait()
    tree = ProcessTree(parent.pid)
    assert tree.pids() == set()
    tree.end(grace_seconds=1)
