"""Ends a stack in an order in which nothing waits for what has gone, also after a crash."""

import signal
import time
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from xmlrpc.client import Error as RpcError

import psutil

from include.local_stack import processes
from include.local_stack.settings import Settings
from include.local_stack.supervision import Supervisor

# A task has 5 s to end its Spark application in order before it kills it.
TASK_SECONDS = 8
TASKS_SECONDS = 30


def stop_stack(settings: Settings) -> int:
    """Stop everything of the stack in this home; returns how many processes had to be killed.

    A stack without a supervisor is ended too: every process carries the stack's mark.
    """
    supervisor = Supervisor(settings)
    if supervisor.is_running():
        with suppress(OSError, RpcError, HTTPException):
            _stop_supervised(supervisor, settings.home)
    killed = _stop_the_rest(settings.home)
    settings.stack_env_file.unlink(missing_ok=True)
    return killed


def _stop_supervised(supervisor: Supervisor, home: Path) -> None:
    for name in ("scheduler-watch", "simulator"):
        supervisor.stop_program(name)
    # Asked to stop, the scheduler starts nothing more and waits for its tasks. So they are ended next, while
    # the API server is there to hear how they ended: the next start finds no task that seems to run.
    supervisor.stop_program("scheduler", wait=False)
    deadline = time.monotonic() + TASKS_SECONDS
    while time.monotonic() < deadline:
        # Again for a task that was only about to begin.
        processes.send(_with_words(home, "airflow worker -- LocalExecutor"), signal.SIGTERM)
        if processes.wait_until(lambda: not _is_stopping(supervisor, "scheduler"), TASK_SECONDS):
            break
    for name in ("triggerer", "dag-processor", "api-server", "kafka", "postgres"):
        supervisor.stop_program(name)
    supervisor.shutdown()
    processes.wait_until(lambda: not supervisor.is_running(), 30)


def _is_stopping(supervisor: Supervisor, name: str) -> bool:
    return supervisor.states()[name].state in ("RUNNING", "STOPPING")


def _stop_the_rest(home: Path) -> int:
    """What remains when there is no supervisor (any more), in the same order."""
    # First whoever would start the others again.
    _end(_with_words(home, "supervisord"), signal.SIGKILL, 10)
    _end(_with_words(home, "include.simulator", "antenna_streaming_job.py"), signal.SIGTERM, 10)
    _end(_with_words(home, "airflow", "antenna_batch_job.py", "pyspark"), signal.SIGTERM, 15)
    _end(_with_words(home, "kafka.Kafka"), signal.SIGTERM, 30)
    _end(_with_words(home, "postgres -D"), signal.SIGINT, 30)
    remaining = processes.find(home)
    processes.send(remaining, signal.SIGKILL)
    processes.wait_until(lambda: not any(map(processes.runs, remaining)), 10)
    return len(remaining)


def _with_words(home: Path, *words: str) -> list[psutil.Process]:
    return [
        process
        for process in processes.find(home)
        if any(word in processes.command_line(process) for word in words)
    ]


def _end(targets: list[psutil.Process], number: signal.Signals, seconds: float) -> None:
    processes.send(targets, number)
    processes.wait_until(lambda: not any(map(processes.runs, targets)), seconds)
