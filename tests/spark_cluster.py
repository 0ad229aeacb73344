"""A Spark standalone cluster on 127.0.0.1: a master and two workers, which know nothing of the project."""

import os
import sys
from pathlib import Path
from typing import Any

import httpx

from include.local_stack.service import Service
from include.local_stack.settings import free_port, package_folder

WORKERS = 2
HOST = "127.0.0.1"


class _Daemon(Service):
    """One of Spark's daemons; `words` are its class and options."""

    def __init__(self, folder: Path, name: str, words: list[str]) -> None:
        super().__init__(folder / f"{name}.log")
        self.name = name
        self.web_port = free_port()
        self._words = [*words, "--host", HOST, "--webui-port", str(self.web_port)]

    def prepare(self) -> None:
        """Nothing: a daemon has no configuration of its own."""

    def command(self) -> list[str]:
        return [str(package_folder("pyspark") / "bin" / "spark-class"), *self._words]

    def environment(self) -> dict[str, str]:
        programs = str(Path(sys.executable).parent)
        return {
            "SPARK_HOME": str(package_folder("pyspark")),
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            # What executors import has to be sent to them.
            "PYTHONPATH": "",
            "SPARK_DAEMON_MEMORY": "256m",
        }

    def is_ready(self) -> bool:
        return bool(self.state())

    def state(self) -> dict[str, Any]:
        """What its web page says; nothing while it does not answer."""
        try:
            answer = httpx.get(f"http://{HOST}:{self.web_port}/json/", timeout=5, trust_env=False)
        except httpx.HTTPError:
            return {}
        return dict(answer.json()) if answer.is_success else {}


class SparkCluster:
    """`url` is the master that a connection names."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        port = free_port()
        self.url = f"spark://{HOST}:{port}"
        self._master = _Daemon(
            folder, "master", ["org.apache.spark.deploy.master.Master", "--port", str(port)]
        )
        worker = ["org.apache.spark.deploy.worker.Worker", self.url, "--cores", "2", "--memory", "3g"]
        self._workers = [
            _Daemon(folder, f"worker-{number}", [*worker, "--work-dir", str(folder / f"work-{number}")])
            for number in range(WORKERS)
        ]

    def start(self) -> None:
        """Start the master and, when it answers, its workers."""
        for daemon in (self._master, *self._workers):
            daemon.start()

    def applications(self) -> list[str]:
        """The names of the applications that run or have ended."""
        state = self._master.state()
        return [application["name"] for key in ("activeapps", "completedapps") for application in state[key]]

    def alive_workers(self) -> int:
        """How many workers the master can use."""
        return int(self._master.state()["aliveworkers"])

    def stop(self) -> None:
        """End it."""
        for daemon in (*self._workers, self._master):
            daemon.stop()
