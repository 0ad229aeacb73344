"""What a user sees when something is not there: one clear line and exit code 1, with nothing changed."""

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from include.local_stack.settings import PROJECT_ROOT, free_port
from include.provisioner.schema import apply_migrations


def last_line(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 1, result.stdout
    return [line for line in result.stdout.splitlines() if line.startswith("antenna_")][-1]


def run_without_spark(jobs: Any, **changes: Any) -> str:
    """Run the streaming job up to its checks of PostgreSQL, which come before Spark is started."""
    password = changes.pop("password", jobs.database.password)
    command = replace(jobs, **changes).streaming_command()[3:]
    return last_line(
        subprocess.run(
            [sys.executable, *command],
            env={**os.environ, "ANTENNA_DB_PASSWORD": password},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
    )


def test_postgres_unreachable(jobs: Any) -> None:
    database = replace(jobs.database, port=free_port())
    line = run_without_spark(jobs, database=database)
    assert f"port {database.port} failed: Connection refused" in line
    assert "check --jdbc-uri and that PostgreSQL is running" in line


def test_wrong_password(jobs: Any) -> None:
    line = run_without_spark(jobs, password="guessed-password")
    assert "password authentication failed" in line
    assert "check --jdbc-user and the password in ANTENNA_DB_PASSWORD" in line
    assert "guessed-password" not in line


def test_table_missing(jobs: Any) -> None:
    with jobs.database.connect() as connection:
        connection.execute("DROP TABLE bytes CASCADE")
    line = run_without_spark(jobs)
    assert "table bytes does not exist: not provisioned yet; run the DAG provision_schema first" in line


def test_storage_not_writable(jobs: Any) -> None:
    jobs.storage.write_text("a file where the folder should be")
    line = run_without_spark(jobs)
    assert f"storage path '{jobs.storage}' is not writable" in line


def test_topic_missing(jobs: Any) -> None:
    result = replace(jobs, topic="nobody-made-this").stream()
    assert "topic 'nobody-made-this' does not exist" in last_line(result)
    assert "run the DAG provision_schema first" in last_line(result)


def test_kafka_unreachable(jobs: Any) -> None:
    address = f"127.0.0.1:{free_port()}"
    line = last_line(replace(jobs, bootstrap_servers=address).stream())
    assert f"Kafka at {address} does not answer" in line
    assert "check --kafka-bootstrap-servers and that the broker is running" in line


def test_batch_before_provisioning(jobs: Any, postgres: Any) -> None:
    with psycopg.connect(jobs.database.url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA ops CASCADE")
    assert "table ops.hours does not exist" in last_line(jobs.batch("2020-09-20T12:00:00Z"))
    with psycopg.connect(jobs.database.url, autocommit=True) as connection:
        connection.execute("DROP TABLE user_metadata, bytes, bytes_hourly, user_quota_limit")
    apply_migrations(jobs.database.url)


@pytest.mark.parametrize("job", ["antenna_streaming_job.py", "antenna_batch_job.py"])
def test_bad_arguments(job: str) -> None:
    command = [sys.executable, str(PROJECT_ROOT / "spark_jobs" / job)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith(f"{job}: error: the following arguments are required:")
    assert result.stderr.count("\n") == 1
