"""Airflow's own database, connections and runs of DAGs, for the tests of what runs inside Airflow."""

import json
from collections.abc import Callable

import pytest
from airflow.dag_processing.dagbag import DagBag

from antenna_airflow.defaults import (
    KAFKA_CONNECTION,
    POSTGRES_CONNECTION,
    PROJECT_ROOT,
    READER_CONNECTION,
    SPARK_CONNECTION,
)
from include.local_stack.kafka import Kafka
from tests.conftest import Database, TestPostgres

DAGS_FOLDER = PROJECT_ROOT / "dags"
# DAG id and config -> state of the run, state by task.
RunDag = Callable[..., tuple[str, dict[str, str]]]
READER_ROLE = "page reader"
READER_PASSWORD = "antenna-reader-password"


@pytest.fixture(scope="session")
def airflow_database() -> None:
    """Airflow's own metadata, in the folder that AIRFLOW_HOME names."""
    from airflow.utils.db import initdb

    initdb()


@pytest.fixture
def connection_env(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set an Airflow connection by way of the environment."""

    def put(conn_id: str, **fields: object) -> None:
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))

    return put


@pytest.fixture
def reader_connection(
    postgres: TestPostgres, database: Database, connection_env: Callable[..., None]
) -> Database:
    """The connection postgres_antenna_reader leads to this test's database; its role has no rights yet."""
    postgres.ensure_role(READER_ROLE, READER_PASSWORD)
    connection_env(
        READER_CONNECTION,
        conn_type="postgres",
        host=database.host,
        port=database.port,
        schema=database.name,
        login=READER_ROLE,
        password=READER_PASSWORD,
    )
    return database


@pytest.fixture
def postgres_connection(database: Database, connection_env: Callable[..., None]) -> Database:
    """The connection postgres_antenna leads to this test's database, which is returned."""
    connection_env(
        POSTGRES_CONNECTION,
        conn_type="postgres",
        host=database.host,
        port=database.port,
        schema=database.name,
        login=database.user,
        password=database.password,
    )
    return database


@pytest.fixture
def kafka_connection(kafka: Kafka, connection_env: Callable[..., None]) -> Kafka:
    """The connection kafka_default leads to the test's broker, which is returned."""
    connection_env(KAFKA_CONNECTION, conn_type="kafka", extra={"bootstrap.servers": kafka.bootstrap_servers})
    return kafka


@pytest.fixture
def spark_connection(connection_env: Callable[..., None]) -> None:
    """The connection spark_default names a local master."""
    connection_env(SPARK_CONNECTION, conn_type="spark", host="local[2]", extra={"deploy-mode": "client"})


@pytest.fixture
def task_log(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What was logged since the last call; Airflow's own logging writes to standard output."""
    return lambda: capsys.readouterr().out


@pytest.fixture
def run_dag(airflow_database: None) -> RunDag:
    """Run a DAG in this process; returns the run's state and the state of every task."""

    def run(dag_id: str, conf: dict[str, object] | None = None) -> tuple[str, dict[str, str]]:
        dag = DagBag(DAGS_FOLDER / f"{dag_id}.py").dags[dag_id]
        dag_run = dag.test(logical_date=None, run_conf=conf)
        return dag_run.state, {ti.task_id: ti.state for ti in dag_run.get_task_instances()}

    return run
