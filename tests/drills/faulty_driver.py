"""The streaming job with fault points: a driver that kills or freezes itself at a seam of a micro-batch.

For spark-submit, in place of antenna_streaming_job.py. The environment variable ANTENNA_DRILL_ORDERS names a
folder. When its file `fault` holds "<seam> <signal> <times>", the driver sends that signal to its whole
process group when it comes to the seam so many times. When its file `clock` holds a number of seconds, the
wall clock of the driver is off by so much.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "spark_jobs"))

import antenna_streaming_job
from metering import heartbeat, micro_batch, statements
from metering.commits import StreamStore
from metering.micro_batch import MicroBatchWriter

ORDERS = Path(os.environ["ANTENNA_DRILL_ORDERS"])


def come_to(seam: str) -> None:
    """Obey an order for this seam, once."""
    order = ORDERS / "fault"
    with suppress(FileNotFoundError):
        ordered, number, times = order.read_text().split()
        if ordered != seam:
            return
        if int(times) > 1:
            order.write_text(f"{seam} {number} {int(times) - 1}")
            return
        order.unlink()
        os.killpg(os.getpgid(0), signal.Signals[number])


def before(seam: str, owner: object, name: str) -> None:
    """Make a method or function come to the seam first."""
    real: Callable[..., Any] = getattr(owner, name)

    def patched(*arguments: Any) -> Any:
        come_to(seam)
        return real(*arguments)

    setattr(owner, name, patched)


def after(seam: str, owner: object, name: str) -> None:
    """Make a method or function come to the seam when it has returned."""
    real: Callable[..., Any] = getattr(owner, name)

    def patched(*arguments: Any) -> Any:
        result = real(*arguments)
        come_to(seam)
        return result

    setattr(owner, name, patched)


class ShiftedTime:
    """The module `time`, its wall clock off by what the order says."""

    def time(self) -> float:
        with suppress(FileNotFoundError, ValueError):
            return time.time() + float((ORDERS / "clock").read_text())
        return time.time()

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


before("files_staged", MicroBatchWriter, "_commit")
before("files_renamed", StreamStore, "_advance_offsets")
before("before_upsert", statements, "add_totals")
after("after_upsert", statements, "add_totals")
after("after_commit", StreamStore, "commit")
for module in (heartbeat, micro_batch):
    module.time = ShiftedTime()  # type: ignore[attr-defined]

if __name__ == "__main__":
    sys.exit(antenna_streaming_job.main())
