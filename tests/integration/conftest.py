"""Airflow's own database and connections, for the tests of what runs inside Airflow."""

import json
from collections.abc import Callable

import pytest

from antenna_airflow.defaults import READER_CONNECTION
from tests.conftest import Database, TestPostgres

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
