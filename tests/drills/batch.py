"""The client of batch_server.py: the batch job without a new Spark session for each hour."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from include.local_stack import processes
from include.local_stack.settings import STACK_MARKER, base_environment

SCRIPT = Path(__file__).with_name("batch_server.py")


class BatchResult(NamedTuple):
    """How a run of the job ended; code None: it was killed."""

    code: int | None
    output: str


class BatchServer:
    """Starts at the first run, and again after it was killed. `folder` keeps its log."""

    def __init__(self, folder: Path, spark_conf_dir: Path, environment: dict[str, str] | None = None) -> None:
        self._folder = folder
        self._spark_conf_dir = spark_conf_dir
        self._environment = environment or {}
        self._process: subprocess.Popen[str] | None = None

    def run(self, arguments: list[str], **fault: Any) -> BatchResult:
        """Run the job; `pause` or `kill` as batch_server.py says."""
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"arguments": arguments, **fault}) + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        if not answer:
            self.stop()
            return BatchResult(None, (self._folder / "batch.log").read_text(errors="replace")[-3000:])
        return BatchResult(**json.loads(answer))

    def stop(self) -> None:
        """End it with its JVM; idempotent."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)
        processes.send(processes.find(self._folder), signal.SIGKILL)

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            with (self._folder / "batch.log").open("ab") as log:
                self._process = subprocess.Popen(
                    [sys.executable, str(SCRIPT)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    start_new_session=True,
                    env={
                        **base_environment(),
                        **self._environment,
                        "SPARK_CONF_DIR": str(self._spark_conf_dir),
                        "PYSPARK_SUBMIT_ARGS": "--master local[2] pyspark-shell",
                        STACK_MARKER: str(self._folder),
                    },
                )
        return self._process
