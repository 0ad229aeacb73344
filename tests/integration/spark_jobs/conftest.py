"""The Spark jobs as a user runs them: bare spark-submit against real Kafka and PostgreSQL."""

import os
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads
import pytest
from confluent_kafka import Producer

from include.local_stack.settings import PROJECT_ROOT

JOBS = PROJECT_ROOT / "spark_jobs"


@dataclass(frozen=True)
class Jobs:
    """Runs the jobs for one topic, one database and one storage folder."""

    bootstrap_servers: str
    topic: str
    database: Any
    folder: Path
    spark_conf_dir: Path

    @property
    def storage(self) -> Path:
        return self.folder / "storage"

    def send(self, values: Iterable[bytes | None], partition: int = 0) -> None:
        """Send records in order to one partition."""
        producer = Producer({"bootstrap.servers": self.bootstrap_servers})
        for value in values:
            producer.produce(self.topic, value=value, partition=partition)
            producer.poll(0)
        assert producer.flush(30) == 0

    def stream(self, *extra: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run the streaming job over what is there."""
        return self.run([*self.streaming_command(), "--available-now", *extra], self.environment(**env))

    def start_stream(self, *extra: str) -> subprocess.Popen[bytes]:
        """Start the streaming job; its output goes to driver.log in the folder."""
        with (self.folder / "driver.log").open("ab") as log:
            return subprocess.Popen(
                [*self.streaming_command(), "--trigger-interval", "1 second", *extra],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment(),
                start_new_session=True,
            )

    def batch(self, timestamp: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run the batch job for one hour."""
        command = [
            "spark-submit", "--master", "local[2]", str(JOBS / "antenna_batch_job.py"),
            "--timestamp", timestamp, "--storage-path", str(self.storage),
            "--jdbc-uri", self.database.jdbc_uri, "--jdbc-user", self.database.user,
            "--user-metadata-table", "user_metadata", "--bytes-hourly-table", "bytes_hourly",
            "--user-quota-limit-table", "user_quota_limit",
        ]  # fmt: skip
        return self.run(command, self.environment(**env))

    def streaming_command(self) -> list[str]:
        return [
            "spark-submit", "--master", "local[2]", str(JOBS / "antenna_streaming_job.py"),
            "--kafka-bootstrap-servers", self.bootstrap_servers, "--topic", self.topic,
            "--jdbc-uri", self.database.jdbc_uri, "--jdbc-user", self.database.user,
            "--user-metadata-table", "user_metadata", "--bytes-table", "bytes",
            "--storage-path", str(self.storage), "--checkpoint-path", str(self.folder / "checkpoint"),
            "--max-lateness", "unlimited",
        ]  # fmt: skip

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with self.database.connect() as connection:
            return list(connection.execute(statement).fetchall())

    def archive(self, folder: str = "events") -> pa.Table:
        """The archive as any Parquet reader sees it."""
        return pads.dataset(self.storage / folder, format="parquet").to_table()

    def wait_for(self, statement: str, expected: object, seconds: float = 60) -> None:
        """Wait until a query's first value is ``expected``."""
        deadline = time.monotonic() + seconds
        while (found := self.query(statement)[0][0]) != expected:
            log = self.folder / "driver.log"
            tail = log.read_text()[-3000:] if log.exists() else ""
            assert time.monotonic() < deadline, f"{statement}: {found!r} instead of {expected!r}\n{tail}"
            time.sleep(0.3)

    def run(self, command: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """Run a command in this environment."""
        return subprocess.run(
            command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=180, check=False,
        )  # fmt: skip

    def environment(self, **extra: str) -> dict[str, str]:
        """What a job finds in its environment."""
        programs = str(Path(sys.executable).parent)
        return {
            # Without PYTHONPATH, as in a bare spark-submit: the job itself ships its package.
            **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYSPARK_PYTHON": sys.executable,
            "PYSPARK_DRIVER_PYTHON": sys.executable,
            "SPARK_CONF_DIR": str(self.spark_conf_dir),
            "ANTENNA_DB_PASSWORD": self.database.password,
            **extra,
        }


@pytest.fixture
def jobs(kafka: Any, topic: str, database: Any, tmp_path: Path, spark_conf_dir: Path) -> Jobs:
    """The jobs over a fresh topic, database and storage folder."""
    return Jobs(kafka.bootstrap_servers, topic, database, tmp_path, spark_conf_dir)
