"""The programs of the stack, and how they are prepared."""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from include.local_stack.environment import READER_ROLE, airflow_home, batch_start, password_file
from include.local_stack.kafka import Kafka
from include.local_stack.postgres import Postgres
from include.local_stack.settings import PROJECT_ROOT, TOPIC, Secrets, Settings, StackError, write_private
from include.local_stack.supervision import Program

AIRFLOW_PROGRAMS = {
    "api-server": ["api-server"],
    # Their log servers would listen on every address; the API server reads the files themselves.
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
}
SCHEDULER_WATCH = "scheduler-watch"
SIMULATED_TRAFFIC = {
    "--events-per-second": "100",
    "--broken-share": "0.002",
    "--late-share": "0.005",
    "--unknown-share": "0.01",
}


def kafka_service(settings: Settings) -> Kafka:
    """The stack's broker."""
    return Kafka(settings.home / "kafka", settings.kafka_port, settings.jars, settings.logs / "kafka.log")


def postgres_service(settings: Settings, secrets: Secrets) -> Postgres:
    """The stack's PostgreSQL server."""
    password = secrets.db_superuser_password
    return Postgres(settings.home / "postgres", settings.db_port, password, settings.logs / "postgres.log")


def programs(settings: Settings, kafka: Kafka, postgres: Postgres) -> list[Program]:
    """Every program that supervisord may run, in the order of `make status`."""
    airflow = str(Path(sys.executable).with_name("airflow"))
    return [
        Program("postgres", postgres.command(), "INT", 60, signal_group=False),
        Program("kafka", kafka.command(), stop_seconds=60),
        *(
            # The scheduler waits for its tasks, and its workers end when they have; see stop.py.
            Program(
                name,
                [airflow, *words],
                stop_seconds=60 if name == "scheduler" else 20,
                signal_group=name != "scheduler",
            )
            for name, words in AIRFLOW_PROGRAMS.items()
        ),
        Program(SCHEDULER_WATCH, [sys.executable, "-m", "include.local_stack.scheduler_watch"]),
        Program("simulator", _simulator_command(settings), stop_seconds=60),
    ]


def prepare_databases(postgres: Postgres, secrets: Secrets) -> None:
    """Make the two databases, their roles, and the role that reads for the page; idempotent."""
    postgres.ensure_database("antenna", secrets.db_password)
    postgres.ensure_role(READER_ROLE, secrets.db_reader_password)
    postgres.ensure_database("airflow", secrets.airflow_db_password)
    with postgres.connect_as_superuser() as connection:
        # A scheduler that is killed inside a transaction leaves its connection to its workers, which keep it
        # open and with it the locks: the next scheduler would pass over the locked run without a word.
        connection.execute("ALTER ROLE airflow SET idle_in_transaction_session_timeout = '30s'")


def prepare_airflow(settings: Settings, secrets: Secrets, environment: dict[str, str]) -> None:
    """Bring Airflow's metadata up to its version and write the passwords of its users."""
    home = airflow_home(settings)
    home.mkdir(exist_ok=True)
    passwords = {"admin": secrets.airflow_password, "viewer": secrets.airflow_viewer_password}
    write_private(password_file(settings), json.dumps(passwords))
    migrated = home / "migrated-version"
    current = version("apache-airflow-core")
    if migrated.exists() and migrated.read_text() == current:
        return
    log = settings.logs / "airflow-db-migrate.log"
    with log.open("wb") as output:
        command = [str(Path(sys.executable).with_name("airflow")), "db", "migrate"]
        done = subprocess.run(command, env=environment, cwd=home, stdout=output, stderr=output, check=False)
    if done.returncode != 0:
        raise StackError(f"Airflow's database cannot be migrated; see {log}:\n{log.read_text()[-2000:]}")
    migrated.write_text(current)


def _simulator_command(settings: Settings) -> list[str]:
    return [
        *(sys.executable, "-m", "include.simulator", "--live"),
        *("--bootstrap-servers", settings.kafka_bootstrap_servers),
        *("--topic", TOPIC),
        *("--ledger", str(settings.ledger_file)),
        *("--start", batch_start(settings).isoformat()),
        *(word for pair in SIMULATED_TRAFFIC.items() for word in pair),
    ]


def provisioned_files() -> list[Path]:
    """The files that provisioning reads: when one changes, it has to run again."""
    return [
        *sorted((PROJECT_ROOT / "include" / "sql" / "migrations").glob("*.sql")),
        PROJECT_ROOT / "include" / "provisioner" / "reader.py",
        PROJECT_ROOT / "include" / "provisioner" / "user_metadata.csv",
    ]
