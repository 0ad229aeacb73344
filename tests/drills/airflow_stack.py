"""A whole stack for drills on Airflow, started and stopped by `make run SIMULATOR=0` and `make stop`."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import psycopg

from include.local_stack import processes
from include.local_stack.airflow_client import AirflowClient
from include.local_stack.settings import (
    PROJECT_ROOT,
    TOPIC,
    Settings,
    StackError,
    free_port,
    read_stack_env,
)
from include.local_stack.status import read_status

from .batch import BatchServer
from .system import System

START_SECONDS = 240
STREAM = "antenna_streaming"


class AirflowStack(System):
    """The system whose driver Airflow keeps running. `settings` says where it is."""

    def __init__(self, settings: Settings, process: subprocess.Popen[bytes], batch: BatchServer) -> None:
        self.settings = settings
        self._process = process
        env = read_stack_env(settings.stack_env_file)
        self.airflow = AirflowClient(env["AIRFLOW_URL"], env["AIRFLOW_USER"], env["AIRFLOW_PASSWORD"])
        folder = settings.home.with_name("evidence")
        folder.mkdir()
        super().__init__(
            folder=folder,
            storage=settings.storage,
            bootstrap_servers=settings.kafka_bootstrap_servers,
            topic=TOPIC,
            db_url=env["ANTENNA_DB_URL"],
            batch=batch,
        )

    @classmethod
    def start(cls, folder: Path, jars: Path, batch: BatchServer) -> "AirflowStack":
        """Start a stack with a home of its own in `folder`, and wait until it is healthy."""
        home = folder / "home"
        home.mkdir(parents=True)
        # No hour has passed since the start, so that the schedule computes none beside those of the drills.
        this_hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        (home / "batch-start").write_text(this_hour.isoformat())
        settings = Settings(home, free_port(), free_port(), free_port(), jars)
        return cls(settings, _run(settings), batch)

    def make(self, target: str) -> subprocess.CompletedProcess[str]:
        """What `make` runs for a target, once everything is installed."""
        return subprocess.run(
            [sys.executable, "-m", "include.local_stack", target],
            cwd=PROJECT_ROOT,
            env=_environment(self.settings),
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )

    def run_again(self) -> None:
        """Start it again, and wait until it is healthy."""
        self._process.wait(60)
        self._process = _run(self.settings)

    def kill_runner(self) -> None:
        """Kill `make run` and supervisord; nothing else ends."""
        (supervisor,) = (
            one for one in processes.find(self.settings.home) if "supervisord" in processes.command_line(one)
        )
        processes.send([psutil.Process(self._process.pid), supervisor], signal.SIGKILL)
        self._process.wait(10)

    def kill_everything(self) -> None:
        """What a power cut does to the processes: `make run` itself, supervisord, every server and job."""
        running = [*psutil.Process(self._process.pid).children(recursive=True)]
        processes.send([*running, *processes.find(self.settings.home)], signal.SIGKILL)
        processes.send(processes.find(self.settings.home), signal.SIGKILL)
        self._process.wait(60)
        self.wait(lambda: not processes.find(self.settings.home), 20, "every process is gone")

    def close(self) -> None:
        """End it, whatever state it is in."""
        self.make("stop")
        processes.send(processes.find(self.settings.home), signal.SIGKILL)

    def describe(self) -> str:
        health = read_status(self.settings).stream
        return f"the stream is {health.word}: {health.why}"

    def airflow_is_healthy(self) -> bool:
        """Whether scheduler, triggerer and DAG processor give signs of life."""
        try:
            return set(self.airflow.component_health().values()) == {"healthy"}
        except StackError:
            return False

    def postgres_answers(self) -> bool:
        """Whether the server accepts connections."""
        with suppress(psycopg.OperationalError):
            return bool(self.query("SELECT 1"))
        return False

    def newest_run(self) -> str:
        """The run that holds the stream."""
        return str(self.airflow.runs(STREAM, limit=1)[0]["dag_run_id"])

    def set_state(self, state: str) -> None:
        """Mark the streaming task as failed or success, as a person does on its page."""
        path = f"/api/v2/dags/{STREAM}/dagRuns/{self.newest_run()}/taskInstances/run_stream"
        self.airflow.request("PATCH", path, json={"new_state": state})

    def clear(self) -> None:
        """Clear the streaming task, as a person does on its page."""
        body = {"dag_run_id": self.newest_run(), "task_ids": ["run_stream"], "only_failed": False}
        path = f"/api/v2/dags/{STREAM}/clearTaskInstances"
        self.airflow.request("POST", path, json={**body, "dry_run": False})

    def stream_log(self) -> str:
        """The logs of all tries of the streaming task in its newest run."""
        run_id = self.newest_run()
        (task,) = self.airflow.task_instances(STREAM, run_id)
        return "\n".join(
            self.airflow.task_log(STREAM, run_id, "run_stream", number)
            for number in range(1, task["try_number"] + 1)
        )

    def ask_airflow(self, statement: str) -> list[tuple[Any, ...]]:
        """The rows of a query of Airflow's own database."""
        with psycopg.connect(
            host="127.0.0.1",
            port=self.settings.db_port,
            dbname="airflow",
            user="airflow",
            password=self.settings.load_secrets().airflow_db_password,
        ) as connection:
            return connection.execute(statement.encode()).fetchall()

    def pid_of(self, program: str) -> int:
        """The process of a supervised program."""
        (service,) = (one for one in read_status(self.settings).services if one.name == program)
        return service.pid


class AirflowDriver:
    """The driver that holds the stream of a stack now, with every process that was started with it."""

    def __init__(self, stack: AirflowStack) -> None:
        self._stack = stack
        query = "SELECT epoch, driver_pid FROM ops.streams WHERE topic = %s"
        ((self.epoch, self.pid),) = stack.query(query, stack.topic)
        # The driver's parent is the JVM of spark-submit; that one's parent runs the task, and is watched by
        # its parent, a worker of the executor.
        self.jvm, task, worker, *_ = psutil.Process(self.pid).parents()
        self.processes = [self.jvm, *self.jvm.children(recursive=True)]
        self.task_pid, self.worker_pid = task.pid, worker.pid
        # What is not of this stack must never be harmed, whatever became of its parents.
        own = {process.pid for process in processes.find(stack.settings.home)}
        family = {self.pid, self.jvm.pid, self.task_pid, self.worker_pid}
        assert family <= own, f"{family - own} are no processes of the stack"

    def is_gone(self) -> bool:
        """Whether not one of its processes is left."""
        return not any(map(processes.runs, self.processes))

    def is_replaced(self) -> bool:
        """Whether a newer driver has taken over."""
        query = "SELECT 1 FROM ops.streams WHERE topic = %s AND epoch > %s AND state = 'running'"
        return bool(self._stack.query(query, self._stack.topic, self.epoch))


def _environment(settings: Settings) -> dict[str, str]:
    return {
        **os.environ,
        **{name: str(port) for name, port in settings.ports().items()},
        "ANTENNA_HOME": str(settings.home),
        "ANTENNA_JARS": str(settings.jars),
        "SIMULATOR": "0",
        "AIRFLOW_VAR_ANTENNA_TRIGGER_INTERVAL": "1 second",
        "COLUMNS": "120",
    }


def _run(settings: Settings) -> subprocess.Popen[bytes]:
    log_file = settings.home.with_name("run.log")
    with log_file.open("ab") as log:
        # In a session of its own, as a terminal has it; without the shell of `make`, which would be one
        # process more to wait for.
        process = subprocess.Popen(
            [sys.executable, "-m", "include.local_stack", "run"],
            cwd=PROJECT_ROOT,
            env=_environment(settings),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def healthy() -> bool:
        assert process.poll() is None, log_file.read_text()[-3000:]
        return settings.stack_env_file.exists() and read_status(settings).healthy

    assert processes.wait_until(healthy, START_SECONDS), log_file.read_text()[-3000:]
    return process
