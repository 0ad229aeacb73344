"""The page in Airflow's real API server app, on a real PostgreSQL with known figures."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import uvicorn
from airflow.api_fastapi.app import create_app, get_auth_manager, purge_cached_app
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from fastapi import FastAPI
from fastapi.testclient import TestClient
from playwright.sync_api import Browser, BrowserContext, Page

from include.local_stack.settings import free_port
from include.provisioner.reader import grant_reader
from tests.browsers import Watch, chromium
from tests.conftest import Database
from tests.integration.conftest import READER_ROLE

HOUR = timedelta(hours=1)
# Of a reader whose time is not UTC.
TIME_ZONE = "Europe/Madrid"
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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium for the tests of one file: while it runs, no test of this process can use asyncio.run."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def airflow_url(airflow_app: FastAPI) -> Iterator[str]:
    """Where Airflow's API server app answers."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(airflow_app, port=port, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < deadline, "the API server did not start"
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


# Role and further options of the browser's context -> its page.
OpenPage = Callable[..., Page]


@pytest.fixture
def open_page(airflow_url: str, airflow_app: FastAPI, browser: Browser) -> Iterator[OpenPage]:
    """Open the page as a user of a role. At the end nothing may have failed, and no other host been asked."""
    contexts: list[tuple[BrowserContext, Watch]] = []

    def open_page(role: str = "admin", **options: Any) -> Page:
        options = {"viewport": {"width": 1280, "height": 900}, "timezone_id": TIME_ZONE, **options}
        context = browser.new_context(base_url=airflow_url, **options)
        context.set_default_timeout(15_000)
        contexts.append((context, Watch(context, airflow_url)))
        user = SimpleAuthManagerUser(username=role, role=role)
        token = get_auth_manager().generate_jwt(user)
        context.add_cookies([{"name": "_token", "value": token, "url": airflow_url}])
        page = context.new_page()
        page.goto("/antennas/")
        return page

    yield open_page
    for context, watch in contexts:
        context.close()
        watch.assert_clean()
