"""The whole stack, started once for the tests of this folder by the code of `make run SIMULATOR=0`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from rich.console import Console

from include.local_stack.airflow_client import AirflowClient
from include.local_stack.environment import stack_environment
from include.local_stack.progress import Steps
from include.local_stack.settings import Settings, free_port, read_stack_env
from include.local_stack.stack import Stack


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
