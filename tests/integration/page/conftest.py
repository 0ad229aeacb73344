"""The page in Airflow's real API server app, on a real PostgreSQL with known figures."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from airflow.api_fastapi.app import create_app, get_auth_manager, purge_cached_app
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from fastapi import FastAPI
from fastapi.testclient import TestClient

from include.provisioner.reader import grant_reader
from tests.conftest import Database
from tests.integration.conftest import READER_ROLE

HOUR = timedelta(hours=1)
# Role -> a client that is logged in with it.
LogIn = Callable[[str], TestClient]


@pytest.fixture
def this_hour() -> datetime:
    """The hour in which the test runs from beginning to end."""
    now = datetime.now(UTC)
    hour = now.replace(minute=0, second=0, microsecond=0)
    if now - hour > timedelta(minutes=59):
        hour += HOUR
        time.sleep((hour - datetime.now(UTC)).total_seconds())
    return hour


@pytest.fixture(scope="session")
def airflow_app(airflow_database: None) -> Iterator[FastAPI]:
    """Airflow's API server app with this project's plugins."""
    yield create_app(apps="core")
    purge_cached_app()


@pytest.fixture
def visitor(airflow_app: FastAPI) -> TestClient:
    """Somebody who is not logged in."""
    return TestClient(airflow_app, raise_server_exceptions=False)


@pytest.fixture
def log_in(airflow_app: FastAPI) -> LogIn:
    """Log in with a role of the simple auth manager, by the cookie that a browser has."""

    def log_in(role: str) -> TestClient:
        user = SimpleAuthManagerUser(username=role, role=role)
        client = TestClient(airflow_app, raise_server_exceptions=False)
        client.cookies.set("_token", get_auth_manager().generate_jwt(user))
        return client

    return log_in


@pytest.fixture
def viewer(log_in: LogIn, connection: psycopg.Connection) -> TestClient:
    """A viewer, before a database that is provisioned and empty."""
    return log_in("viewer")


@pytest.fixture
def connection(reader_connection: Database) -> Iterator[psycopg.Connection]:
    """The owner's connection to the database that the page reads."""
    with reader_connection.connect() as connection:
        grant_reader(connection, READER_ROLE)
        yield connection
