"""The batch job again and again in one Spark session: a line of stdin is a run, a line of stdout its end.

A line holds the job's arguments and, for a fault, `pause` (a file: the job has read the manifest and waits
until the file is gone) or `kill` (the process kills itself between the two tables of its transaction). The
answer holds the exit code and what the job printed.
"""

import contextlib
import io
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "spark_jobs"))

import antenna_batch_job
from metering import hour_store

compute = antenna_batch_job.compute
copy = hour_store._copy


def main() -> None:
    """Serve until stdin ends."""
    for line in sys.stdin:
        request = json.loads(line)
        antenna_batch_job.compute = pausing(request["pause"]) if request.get("pause") else compute
        hour_store._copy = killing() if request.get("kill") else copy
        sys.argv = ["antenna_batch_job.py", *request["arguments"]]
        with contextlib.redirect_stdout(io.StringIO()) as output:
            code = antenna_batch_job.main()
        print(json.dumps({"code": code, "output": output.getvalue()}), flush=True)


def pausing(file: str) -> Any:
    """`compute`, which says by a file beside `file` that it has begun, and waits until `file` is gone."""

    def patched(*arguments: Any) -> Any:
        Path(f"{file}.reached").touch()
        while Path(file).exists():
            time.sleep(0.05)
        return compute(*arguments)

    return patched


def killing() -> Any:
    """`_copy`, which kills this process when it is called for the second table."""
    calls: list[object] = []

    def patched(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            os.killpg(os.getpgid(0), signal.SIGKILL)
        copy(*arguments)

    return patched


if __name__ == "__main__":
    main()
