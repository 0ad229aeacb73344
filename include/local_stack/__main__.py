"""The commands behind the Makefile: run, stop, status, setup.

Exit codes: 0 done (status: healthy); 1 failed (status: not healthy); 2 bad settings.
"""

import os
import sys
import time
from collections.abc import Mapping

import psutil
from rich.console import Console

from include.local_stack import jars, processes
from include.local_stack.progress import Steps
from include.local_stack.run import RunOptions, run, runner_pid
from include.local_stack.settings import Settings, StackError, flag
from include.local_stack.status import read_status, render
from include.local_stack.stop import stop_stack

STOP_SECONDS = 120


def main(arguments: list[str]) -> int:
    """Run one command; returns the exit code."""
    console = Console(highlight=False)
    if len(arguments) != 1 or arguments[0] not in ("run", "stop", "status", "setup"):
        return _fail("usage: python -m include.local_stack run|stop|status|setup", 2)
    try:
        settings = Settings.from_environment()
        options = run_options(os.environ)
    except StackError as error:
        return _fail(str(error), 2)
    try:
        match arguments[0]:
            case "run":
                return run(settings, options, console)
            case "stop":
                return _stop(settings, console)
            case "status":
                status = read_status(settings)
                console.print(render(status))
                return 0 if status.healthy else 1
            case _:
                with Steps(console).step("Jars of Kafka and of Spark's Kafka source"):
                    jars.resolve(settings.jars)
                return 0
    except StackError as error:
        return _fail(str(error), 1)


def run_options(environment: Mapping[str, str]) -> RunOptions:
    """Read ONCE and SIMULATOR; raise StackError for anything but 0 and 1."""
    once, simulator = flag(environment, "ONCE", False), flag(environment, "SIMULATOR", True)
    if once and not simulator:
        raise StackError("ONCE=1 compares with what the simulator sent; it does not go with SIMULATOR=0.")
    return RunOptions(once, simulator)


def _stop(settings: Settings, console: Console) -> int:
    pid = runner_pid(settings.home)
    if pid is None and not processes.find(settings.home):
        console.print(f"Nothing of the stack in {settings.home} is running.")
        return 0
    with Steps(console).step(f"Stopping the stack in {settings.home}") as show:
        if pid is not None:
            # The `make run` that started it ends it in order.
            runner = psutil.Process(pid)
            runner.terminate()
            deadline = time.monotonic() + STOP_SECONDS
            while processes.runs(runner) and time.monotonic() < deadline:
                time.sleep(0.2)
            if processes.runs(runner):
                runner.kill()
        if killed := stop_stack(settings):
            show(f"{killed} processes had to be killed")
    return 0


def _fail(message: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
