"""What every DAG of the project has in common."""

import os
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from antenna_airflow.callbacks import log_failure

PROJECT_ROOT = Path(__file__).resolve().parents[2]
SPARK_JOBS = PROJECT_ROOT / "spark_jobs"
QUERIES = PROJECT_ROOT / "include" / "sql" / "queries"
CHECKS = PROJECT_ROOT / "include" / "sql" / "checks"

SPARK_CONNECTION = "spark_default"
POSTGRES_CONNECTION = "postgres_antenna"
# A role that may only read; the page in the Airflow UI uses it.
READER_CONNECTION = "postgres_antenna_reader"
KAFKA_CONNECTION = "kafka_default"

TOPIC = "devices"
# How long after an hour's end its events may still be on their way before the hour is sealed.
SEAL_GRACE_SECONDS = 120

JDBC_URI = (
    "jdbc:postgresql://{{ conn.postgres_antenna.host }}:{{ conn.postgres_antenna.port or 5432 }}"
    "/{{ conn.postgres_antenna.schema }}"
)
JDBC_USER = "{{ conn.postgres_antenna.login }}"
STORAGE = "{{ var.value.antenna_storage }}"
KAFKA_BOOTSTRAP_SERVERS = "{{ conn.kafka_default.extra_dejson['bootstrap.servers'] }}"


class Tag(StrEnum):
    """The tags a DAG may carry."""

    PROVISION = "provision"
    SPEED = "speed-layer"
    BATCH = "batch-layer"
    SIMULATION = "simulation"
    MAINTENANCE = "maintenance"
    ALERTS = "alerts"


# Where whoever has a question about a DAG finds its owner: a page, or mailto:.
OWNER_LINKS = {"antenna": os.environ.get("ANTENNA_OWNER_LINK", "mailto:antenna@localhost")}

# Every task can be run again without harm, so a failure that passes by itself (a service that
# restarts) is worth a few tries: 10 s, 20 s, 40 s. What no retry can heal raises
# AirflowFailException and fails at once.
DEFAULT_ARGS: dict[str, Any] = {
    "owner": "antenna",
    "retries": 3,
    "retry_delay": timedelta(seconds=10),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(minutes=2),
    "execution_timeout": timedelta(minutes=10),
    "on_failure_callback": log_failure,
}
