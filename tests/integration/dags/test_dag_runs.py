"""DAGs run as a whole with dag.test(), on real services. Those that need Spark run end to end."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from airflow.providers.apache.kafka.hooks.client import KafkaAdminClientHook
from confluent_kafka.admin import AdminClient

from antenna_airflow.defaults import KAFKA_CONNECTION, TOPIC
from include.local_stack.kafka import Kafka
from include.provisioner.schema import SQL_FOLDER
from include.provisioner.topic import ensure_topic
from include.simulator.ledger import Ledger
from tests.conftest import Database
from tests.integration.conftest import READER_ROLE, RunDag


def test_provision_schema_twice(
    run_dag: RunDag, postgres_connection: Database, reader_connection: Database, kafka_connection: Kafka
) -> None:
    with postgres_connection.connect() as connection:
        connection.execute("DROP SCHEMA ops CASCADE")
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")

    def look() -> list[tuple[object, ...]]:
        users = "SELECT id, email, quota, xmin::text FROM user_metadata ORDER BY id"
        return (
            connection.execute(users).fetchall() + connection.execute("TABLE ops._yoyo_migration").fetchall()
        )

    tasks = ("apply_migrations", "create_topic", "grant_page_reader", "load_user_metadata")
    succeeded = dict.fromkeys(tasks, "success")
    assert run_dag("provision_schema") == ("success", succeeded)
    with postgres_connection.connect() as connection:
        first = look()
        assert len(first) == 20 + len(list((SQL_FOLDER / "migrations").glob("*.sql")))
        rights = "SELECT has_table_privilege(%s, 'ops.streams', 'SELECT')"
        assert connection.execute(rights, (READER_ROLE,)).fetchone() == (True,)
        assert run_dag("provision_schema") == ("success", succeeded)
        assert look() == first
    topics = AdminClient({"bootstrap.servers": kafka_connection.bootstrap_servers}).list_topics().topics
    assert len(topics["devices"].partitions) == 4


def test_provision_schema_reads_the_csv_of_the_variable(
    run_dag: RunDag,
    postgres_connection: Database,
    kafka_connection: Kafka,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    users = tmp_path / "users.csv"
    users.write_text("id,name,email,quota\n1,ana,ana@x.org,7\n")
    monkeypatch.setenv("AIRFLOW_VAR_ANTENNA_USER_METADATA_CSV", str(users))
    assert run_dag("provision_schema")[0] == "success"
    with postgres_connection.connect() as connection:
        assert connection.execute("SELECT id, quota FROM user_metadata").fetchall() == [("1", 7)]


@pytest.mark.parametrize(
    ("conf", "complaint"),
    [
        ({"timestmap": "2021-09-26T16:00:00Z"}, "config has the unknown key timestmap"),
        ({"timestamp": "2121-09-26T16:00:00Z"}, "the hour 2121-09-26T16:00:00+00:00 has not begun"),
        (None, "no hour is sealed yet"),
    ],
)
def test_antenna_batch_refuses_a_bad_hour_before_anything_starts(
    run_dag: RunDag,
    postgres_connection: Database,
    spark_connection: None,
    task_log: Callable[[], str],
    conf: dict[str, object] | None,
    complaint: str,
) -> None:
    state, tasks = run_dag("antenna_batch", conf)
    assert state == "failed"
    assert tasks.pop("choose_hour") == "failed"
    assert set(tasks.values()) == {"upstream_failed"}
    assert complaint in task_log()


@pytest.mark.parametrize("timestamp", ["2021-09-26T17:00:00", "yesterday", 1632672000, ""])
def test_antenna_batch_refuses_a_bad_timestamp_when_it_is_triggered(
    run_dag: RunDag, timestamp: object
) -> None:
    with pytest.raises(ValueError, match="Invalid input for param timestamp"):
        run_dag("antenna_batch", {"timestamp": timestamp})


def test_late_hours_without_late_hours_triggers_nothing(
    run_dag: RunDag, postgres_connection: Database
) -> None:
    assert run_dag("late_hours") == ("success", {"find_late_hours": "success", "recompute_hour": "skipped"})


def test_simulate_devices_counts_what_it_sends_in_the_ledger(
    run_dag: RunDag, kafka_connection: Kafka, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ensure_topic(KafkaAdminClientHook(KAFKA_CONNECTION), TOPIC)
    path = tmp_path / "ledger"
    monkeypatch.setenv("AIRFLOW_VAR_ANTENNA_SIMULATOR_LEDGER", str(path))
    conf = {"minutes": 2, "events_per_second": 5, "start": "2021-09-26T17:00:00+01:00"}
    assert run_dag("simulate_devices", conf) == ("success", {"send_events": "success"})
    with Ledger(path) as ledger:
        assert ledger.counts().sent == 600
        assert min(ledger.expected_bytes())[0] == datetime(2021, 9, 26, 16, tzinfo=UTC)


def test_simulate_devices_without_kafka_says_so(
    run_dag: RunDag,
    connection_env: Callable[..., None],
    task_log: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("include.simulator.topic.CONNECT_SECONDS", 1)
    connection_env(KAFKA_CONNECTION, conn_type="kafka", extra={"bootstrap.servers": "127.0.0.1:9"})
    assert run_dag("simulate_devices", {"minutes": 0.1})[0] == "failed"
    assert "Kafka at 127.0.0.1:9 cannot be reached" in task_log()
