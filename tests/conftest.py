"""Real services for every test: started once a session, on free ports, with data in a folder of their own."""

import itertools
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from psycopg import sql
from xdist.scheduler import LoadScopeScheduling

from include.local_stack import jars as stack_jars
from include.local_stack.kafka import Kafka
from include.local_stack.postgres import Postgres
from include.local_stack.service import Service
from include.local_stack.settings import PROJECT_ROOT, free_port
from include.provisioner.schema import apply_migrations
from tests.object_store import ObjectStore

# Airflow takes these when it is first imported: no test touches the Airflow of whoever runs it.
_AIRFLOW_HOME = tempfile.TemporaryDirectory(prefix="antenna-test-airflow-")
for _name in [name for name in os.environ if name.startswith("AIRFLOW_")]:
    del os.environ[_name]
os.environ["AIRFLOW_HOME"] = _AIRFLOW_HOME.name
os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(PROJECT_ROOT / "dags")
os.environ["AIRFLOW__CORE__PLUGINS_FOLDER"] = str(PROJECT_ROOT / "plugins")
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"

# Folders and files whose tests share one stack.
_SHARED_STACKS = ("tests/end_to_end/", "tests/drills/test_airflow.py", "tests/drills/")
PARTITIONS = 4
_PASSWORD = "antenna-test-password"
_numbers = itertools.count(1)
_services: list[Service] = []
ServiceT = TypeVar("ServiceT", bound=Service)


@dataclass(frozen=True)
class Database:
    """A migrated database of its own; `user` owns it."""

    host: str
    port: int
    name: str
    user: str
    password: str

    @property
    def url(self) -> str:
        return f"postgresql://{self.user}:{self.password}@{self.host}:{self.port}/{self.name}"

    @property
    def jdbc_uri(self) -> str:
        return f"jdbc:postgresql://{self.host}:{self.port}/{self.name}"

    def connect(self) -> psycopg.Connection:
        """An autocommit connection."""
        return psycopg.connect(self.url, autocommit=True)


class TestPostgres(Postgres):
    """The server of this test session, with one ordinary role that owns every database."""

    __test__ = False
    user = "antenna"
    password = _PASSWORD

    def database(self, name: str) -> Database:
        """The address of a database of this server."""
        return Database("127.0.0.1", self.port, name, self.user, self.password)

    @property
    def url(self) -> str:
        return self.database("antenna").url

    @property
    def jdbc_uri(self) -> str:
        return self.database("antenna").jdbc_uri


class _OneWorkerPerStack(LoadScopeScheduling):  # type: ignore[misc]
    """Workers take files, and whatever shares a stack as a whole.

    xdist's own loadgroup needs an attribute that pytest 9.2 no longer has, and does nothing there.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return next((folder for folder in _SHARED_STACKS if file.startswith(folder)), file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return _OneWorkerPerStack(config, log)


@pytest.fixture(scope="session")
def jars() -> Path:
    """The folder of the jars, which survives between sessions."""
    folder = PROJECT_ROOT / ".local" / "jars"
    stack_jars.resolve(folder)
    return folder


@pytest.fixture(scope="session")
def spark_conf_dir(jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What SPARK_CONF_DIR names for `spark-submit`, as in the stack."""
    return stack_jars.write_spark_conf(tmp_path_factory.mktemp("spark-conf"), jars)


@pytest.fixture(scope="session")
def kafka(jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """The session's broker."""
    folder = tmp_path_factory.mktemp("kafka")
    yield from _running(Kafka(folder, free_port(), jars, folder / "kafka.log"))


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestPostgres]:
    """The session's PostgreSQL."""
    folder = tmp_path_factory.mktemp("postgres")
    for service in _running(TestPostgres(folder, free_port(), _PASSWORD, folder / "postgres.log")):
        service.ensure_database("antenna", _PASSWORD)
        yield service


@pytest.fixture(scope="session")
def object_store() -> Iterator[ObjectStore]:
    """An S3 server; a process finds it by its `environment`."""
    store = ObjectStore()
    yield store
    store.stop()


def _running(service: ServiceT) -> Iterator[ServiceT]:
    try:
        service.start()
        _services.append(service)
        yield service
    finally:
        service.stop()


@pytest.fixture(autouse=True)
def _services_survive_each_test() -> Iterator[None]:
    """Start again what a test ended on purpose."""
    yield
    for service in _services:
        if not service.is_running:
            service.start()


@pytest.fixture
def database(postgres: TestPostgres) -> Iterator[Database]:
    """A fresh database with every migration applied."""
    made = postgres.database(f"test_{next(_numbers)}")
    name = sql.Identifier(made.name)
    with postgres.connect_as_superuser() as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, sql.Identifier(made.user)))
    apply_migrations(made.url)
    yield made
    if postgres.is_running:
        with postgres.connect_as_superuser() as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


@pytest.fixture
def topic(kafka: Kafka) -> str:
    """The name of a fresh, empty topic with 4 partitions."""
    name = f"test-{next(_numbers)}"
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    created = admin.create_topics([NewTopic(name, PARTITIONS, 1)])
    created[name].result(timeout=30)
    return name
