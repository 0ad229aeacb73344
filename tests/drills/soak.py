"""Steady traffic into a stack of its own for hours, and what grows meanwhile: `make soak MINUTES=120`.

The stack is that of `make run`, with traffic of this program; its home is below artifacts/ and is removed at
the end. Every fifteen minutes and every hour it prints the mean and the largest of what it samples: the
driver's memory (JVM heap in use after a collection, resident JVM, resident Python), files of the archive,
size of the database, time of a micro-batch, commits, lag. At the end everything is compared with the ledger.
Exit codes: 0 equal, 1 not.
"""

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import psutil

from include.local_stack import jars as stack_jars
from include.local_stack.settings import PROJECT_ROOT
from include.simulator.generator import Traffic

from .airflow_stack import AirflowDriver, AirflowStack
from .batch import BatchServer
from .system import WrongRowsError

SAMPLE_SECONDS = 60
LINE_SECONDS = 15 * 60
HOUR_SECONDS = 3600
MIB = 1024 * 1024
FILES = "SELECT count(*)::bigint FROM ops.archive_files"
SIZE = "SELECT pg_database_size(current_database())"
LAG = "SELECT coalesce(sum(greatest(log_end_offset - next_offset, 0)), 0)::bigint FROM ops.stream_offsets"
BATCHES = """
SELECT count(*)::bigint, coalesce(avg(executor_ms), 0)::float8, coalesce(max(executor_ms), 0)::float8
FROM ops.micro_batches WHERE committed_at > now() - make_interval(secs => %s)
"""


class Sample(NamedTuple):
    """One look; memory and sizes in MiB, times in ms."""

    heap: float
    jvm: float
    python: float
    files: float
    database: float
    micro_batch: float
    slowest: float
    commits: float
    lag: float


def main() -> int:
    """Run the soak; returns the exit code."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--events-per-second", type=float, default=200)
    options = parser.parse_args()
    folder = PROJECT_ROOT / "artifacts" / "soak"
    shutil.rmtree(folder, ignore_errors=True)
    jars = PROJECT_ROOT / ".local" / "jars"
    batch = BatchServer(folder / "batch", stack_jars.write_spark_conf(folder / "spark-conf", jars))
    stack = AirflowStack.start(folder / "stack", jars, batch)
    try:
        return soak(stack, options.minutes, options.events_per_second)
    finally:
        stack.abandon_traffic()
        batch.stop()
        stack.close()
        shutil.rmtree(folder, ignore_errors=True)


def soak(stack: AirflowStack, minutes: float, events_per_second: float) -> int:
    """Send, look and tell; returns the exit code."""
    traffic = Traffic(
        seed=1,
        events_per_second=events_per_second,
        broken_share=0.01,
        late_share=0.01,
        unknown_share=0.01,
        future_share=0.001,
        max_late_minutes=30,
    )
    stack.start_traffic(traffic)
    first = AirflowDriver(stack)
    # The first minute fills caches and compiles.
    time.sleep(min(60.0, minutes * 6))
    started = time.monotonic()
    say(f"{'minutes':>12}  " + "  ".join(f"{name:>11}" for name in Sample._fields))
    samples: list[tuple[float, Sample]] = []
    told = 0.0
    while (passed := time.monotonic() - started) < minutes * 60:
        # A driver that is just being replaced has no figures.
        with suppress(psutil.Error):
            samples.append((passed, look(stack, AirflowDriver(stack))))
        if passed - told >= LINE_SECONDS:
            tell(samples, told, passed)
            told = passed
        time.sleep(SAMPLE_SECONDS)
    tell(samples, told, passed)
    for hour in range(int(passed // HOUR_SECONDS) + 1):
        tell(samples, hour * HOUR_SECONDS, min((hour + 1) * HOUR_SECONDS, passed), "hour")
    say(f"driver replaced {AirflowDriver(stack).epoch - first.epoch} times")
    try:
        stack.check()
    except WrongRowsError as error:
        say(str(error))
        return 1
    say("Equal: every event sent is counted exactly once.")
    return 0


def look(stack: AirflowStack, driver: AirflowDriver) -> Sample:
    """One sample of the stack and its driver."""
    ((files,),) = stack.query(FILES)
    ((size,),) = stack.query(SIZE)
    ((lag,),) = stack.query(LAG)
    ((commits, mean, slowest),) = stack.query(BATCHES, SAMPLE_SECONDS)
    python = [process for process in driver.processes if process.pid != driver.jvm.pid]
    return Sample(
        heap=heap_in_use(driver.jvm.pid) / MIB,
        jvm=resident([driver.jvm]) / MIB,
        python=resident(python) / MIB,
        files=files,
        database=size / MIB,
        micro_batch=mean,
        slowest=slowest,
        commits=commits,
        lag=lag,
    )


def heap_in_use(pid: int) -> float:
    """Bytes of live objects in a JVM, after a full collection; NaN where there is no jcmd."""
    program = shutil.which("jcmd")
    if program is None:
        return float("nan")
    subprocess.run([program, str(pid), "GC.run"], capture_output=True, check=True)
    answer = subprocess.run([program, str(pid), "GC.heap_info"], capture_output=True, text=True, check=True)
    generations = [line for line in answer.stdout.splitlines() if "generation" in line]
    return sum(int(line.split("used ")[1].split("K")[0]) for line in generations) * 1024.0


def resident(processes: list[psutil.Process]) -> float:
    """Bytes of memory that the processes hold."""
    return sum(process.memory_info().rss for process in processes)


def tell(samples: list[tuple[float, Sample]], start: float, end: float, what: str = "") -> None:
    """A line about the samples of a stretch of time."""
    of_stretch = [sample for at, sample in samples if start <= at < end]
    if not of_stretch:
        return
    figures: dict[str, Callable[[list[float]], float]] = {
        name: max if name == "slowest" else (lambda values: sum(values) / len(values))
        for name in Sample._fields
    }
    values = [figures[name]([getattr(sample, name) for sample in of_stretch]) for name in Sample._fields]
    label = f"{what} {start / 60:.0f}-{end / 60:.0f}".strip()
    say(f"{label:>12}  " + "  ".join(f"{value:>11,.1f}" for value in values))


def say(text: str) -> None:
    """Print at once, for those who follow a log."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
