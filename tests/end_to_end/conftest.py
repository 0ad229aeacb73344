"""The whole stack, started once for the tests of this folder by the code of `make run SIMULATOR=0`."""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from rich.console import Console

from include.local_stack.airflow_client import AirflowClient
from include.local_stack.environment import stack_environment
from include.local_stack.progress import Steps
from include.local_stack.settings import Settings, free_port, read_stack_env
from include.local_stack.stack import Stack


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share the stack run in one worker."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.xdist_group("end_to_end"))


@dataclass(frozen=True)
class RunningStack:
    """`env` is what stack.env says, `process_env` the environment that the stack's processes run in."""

    home: Path
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
            storage=settings.storage,
            env=read_stack_env(settings.stack_env_file),
            process_env=stack_environment(settings, started.secrets),
            airflow=started.airflow,
        )
    finally:
        started.stop()


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Debian's headless Chromium."""
    chromium = shutil.which("chromium")
    assert chromium is not None, "make setup installs it"
    with sync_playwright() as playwright:
        # Chromium refuses its sandbox to root, as which tests run in containers.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(stack: RunningStack, browser: Browser) -> Iterator[Page]:
    """A page of a browser in which the stack's user is logged in to Airflow."""
    context = browser.new_context(base_url=stack.env["AIRFLOW_URL"], viewport={"width": 1280, "height": 900})
    context.set_default_timeout(20_000)
    page = context.new_page()
    page.goto("/")
    page.get_by_role("textbox", name="Username").fill(stack.env["AIRFLOW_USER"])
    page.locator("input[type=password]").fill(stack.env["AIRFLOW_PASSWORD"])
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name="Dags", exact=True).wait_for()
    yield page
    context.close()
