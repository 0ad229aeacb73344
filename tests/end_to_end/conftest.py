"""The whole stack, started once for the tests of this folder by the code of `make run SIMULATOR=0`."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from playwright.sync_api import Browser, Page
from rich.console import Console

from include.local_stack.airflow_client import AirflowClient
from include.local_stack.environment import stack_environment
from include.local_stack.progress import Steps
from include.local_stack.settings import Settings, free_port, read_stack_env
from include.local_stack.stack import Stack
from tests.browsers import Watch, chromium


@dataclass(frozen=True)
class RunningStack:
    """`env` is what stack.env says, `process_env` the environment that the stack's processes run in."""

    home: Path
    settings: Settings
    storage: Path
    env: Mapping[str, str]
    process_env: Mapping[str, str]
    airflow: AirflowClient

    def connect(self) -> psycopg.Connection:
        """An autocommit connection to the project's database."""
        return psycopg.connect(self.env["ANTENNA_DB_URL"], autocommit=True)


@pytest.fixture(scope="package")
def stack(jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A provisioned stack with every DAG on and no traffic but that of the tests."""
    home = tmp_path_factory.mktemp("stack")
    # No hour has passed since the start, so that the schedule computes none beside those of the tests.
    this_hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    (home / "batch-start").write_text(this_hour.isoformat())
    settings = Settings(home, free_port(), free_port(), free_port(), jars)
    started = Stack(settings, Steps(Console(stderr=True)))
    try:
        started.start()
        yield RunningStack(
            home=home,
            settings=settings,
            storage=settings.storage,
            env=read_stack_env(settings.stack_env_file),
            process_env=stack_environment(settings, started.secrets),
            airflow=started.airflow,
        )
    finally:
        started.stop()


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium for the tests of this folder."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(stack: RunningStack, browser: Browser) -> Iterator[Page]:
    """A page of a browser in which the stack's admin is logged in to Airflow."""
    with logged_in(stack, browser, stack.env["AIRFLOW_USER"], stack.env["AIRFLOW_PASSWORD"]) as page:
        yield page


@pytest.fixture
def viewer_page(stack: RunningStack, browser: Browser) -> Iterator[Page]:
    """The same for the viewer."""
    user, password = stack.env["AIRFLOW_VIEWER_USER"], stack.env["AIRFLOW_VIEWER_PASSWORD"]
    with logged_in(stack, browser, user, password) as page:
        yield page


@contextmanager
def logged_in(stack: RunningStack, browser: Browser, user: str, password: str) -> Iterator[Page]:
    """A page after the login form. At the end nothing may have failed, and no other host been asked."""
    url = stack.env["AIRFLOW_URL"]
    # Airflow's forms take the browser's own time.
    context = browser.new_context(
        base_url=url, viewport={"width": 1280, "height": 900}, timezone_id="UTC", accept_downloads=True
    )
    context.set_default_timeout(20_000)
    watch = Watch(context, url)
    page = context.new_page()
    page.goto("/")
    page.get_by_role("textbox", name="Username").fill(user)
    page.locator("input[type=password]").fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name="Dags", exact=True).wait_for()
    yield page
    context.close()
    watch.assert_clean()
