"""`make run`: starts the stack, shows what it does, and stops it again."""

import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from include.local_stack.memory import MemorySampler
from include.local_stack.progress import Steps
from include.local_stack.proof import Compared, Proof, prove
from include.local_stack.settings import Settings, StackError
from include.local_stack.stack import Stack
from include.local_stack.status import read_status, render, summary_line

REFRESH_SECONDS = 2
LINE_EVERY_SECONDS = 30
SHOWN_DIFFERENCES = 20


@dataclass(frozen=True)
class RunOptions:
    """ONCE=1 and SIMULATOR=0 of `make run`."""

    once: bool
    simulator: bool


def run(settings: Settings, options: RunOptions, console: Console) -> int:
    """Run the stack until Ctrl-C or, with ONCE, until it is proven; returns the exit code."""
    settings.create_home()
    with _only_one(settings.home), _signals_interrupt():
        stack = Stack(settings, Steps(console))
        sampler = MemorySampler(settings)
        try:
            if options.once:
                sampler.start()
            stack.start()
            if options.simulator:
                stack.start_simulator()
            if not options.once:
                _watch(stack, console)
            proof = prove(stack)
        except KeyboardInterrupt:
            console.print()
            return 130 if options.once else 0
        finally:
            # From here on nothing interrupts the end.
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            stack.stop()
        return _report(proof, stack.steps, sampler.stop(), console)


def runner_pid(home: Path) -> int | None:
    """The `make run` that holds the stack in `home`, or None."""
    file = home / "run.lock"
    if not file.exists():
        return None
    with file.open("r") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(lock.read() or 0) or None
    return None


@contextmanager
def _only_one(home: Path) -> Iterator[None]:
    with (home / "run.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(
                f"The stack in ANTENNA_HOME={home} is running already. Stop it with `make stop`, "
                "or give another ANTENNA_HOME and other ports."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
        lock.truncate(0)


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """SIGTERM and a closed terminal end the stack like Ctrl-C."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, interrupt) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _watch(stack: Stack, console: Console) -> NoReturn:
    """Show the stack until something interrupts; raises StackError when its supervisor ends."""
    head = Text.assemble(
        "\nAirflow ",
        (stack.settings.airflow_url, "bold"),
        f"   user admin, password and all else: {stack.settings.stack_env_file}\nCtrl-C stops everything.\n",
    )
    if not console.is_terminal:
        console.print(head)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        told = 0.0
        while True:
            status = read_status(stack.settings)
            if not status.services:
                raise StackError("supervisord has ended: the stack does not run any more.")
            if console.is_terminal:
                live.update(Group(head, render(status)), refresh=True)
            elif time.monotonic() - told >= LINE_EVERY_SECONDS:
                told = time.monotonic()
                console.print(summary_line(status), highlight=False)
            time.sleep(REFRESH_SECONDS)


def _report(proof: Proof, steps: Steps, peak_bytes: int, console: Console) -> int:
    hours = ", ".join(f"{hour:%Y-%m-%d %H:%M}" for hour in proof.hours)
    console.print(f"\nComputed hours (UTC): {hours}", highlight=False)
    table = Table("rows", "sent", "kept", "bytes sent", "bytes kept", "", box=None, pad_edge=False)
    for column in table.columns[1:5]:
        column.justify = "right"
    for line in proof.compared:
        table.add_row(*_cells(line))
    console.print(table)
    seconds = sum(steps.durations.values())
    console.print(f"\n{seconds:.0f} s in all; peak memory of the stack {peak_bytes / 2**30:.2f} GiB")
    if not proof.differences:
        console.print("[bold green]Equal: every event sent is counted exactly once.[/]")
        return 0
    console.print(f"[bold red]{len(proof.differences)} differences:[/]")
    for difference in proof.differences[:SHOWN_DIFFERENCES]:
        console.print(f"  {difference}", markup=False, highlight=False)
    return 1


def _cells(line: Compared) -> list[str]:
    equal = (line.sent_rows, line.sent_total) == (line.kept_rows, line.kept_total)
    totals = ["" if total is None else f"{total:,}" for total in (line.sent_total, line.kept_total)]
    verdict = "[green]equal[/]" if equal else "[red]differs[/]"
    return [line.what, f"{line.sent_rows:,}", f"{line.kept_rows:,}", *totals, verdict]
