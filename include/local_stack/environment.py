"""The environment that every process of the stack runs in."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from include.local_stack.jars import write_spark_conf
from include.local_stack.settings import (
    MAX_LATENESS,
    PROJECT_ROOT,
    STACK_MARKER,
    Secrets,
    Settings,
    base_environment,
)

HISTORY = timedelta(hours=2)
# Reads for the page in the Airflow UI.
READER_ROLE = "antenna_reader"


def stack_environment(settings: Settings, secrets: Secrets) -> dict[str, str]:
    """Variables of the project, Spark and Airflow. Passwords are here, and on no command line."""
    environment = {
        **base_environment(),
        STACK_MARKER: str(settings.home),
        # Processes that change their title leave the environment readable, so that they can be found.
        "SPT_NOENV": "1",
        "ANTENNA_HOME": str(settings.home),
        **{name: str(port) for name, port in settings.ports().items()},
        "ANTENNA_STORAGE": str(settings.storage),
        "ANTENNA_BATCH_START": batch_start(settings).isoformat(),
        "SPARK_CONF_DIR": str(write_spark_conf(settings.home / "spark-conf", settings.jars)),
        **_connections(settings, secrets),
        **_airflow(settings, secrets),
    }
    # A proxy of this machine has no business with servers on 127.0.0.1.
    for variable in ("NO_PROXY", "no_proxy"):
        others = environment.get(variable)
        environment[variable] = f"127.0.0.1,localhost{',' + others if others else ''}"
    return environment


def batch_start(settings: Settings) -> datetime:
    """The first hour that the batch layer computes: two closed hours before the first start."""
    file = settings.home / "batch-start"
    if not file.exists():
        hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        file.write_text((hour - HISTORY).isoformat())
    return datetime.fromisoformat(file.read_text())


def _connections(settings: Settings, secrets: Secrets) -> dict[str, str]:
    postgres = {
        "conn_type": "postgres",
        "host": "127.0.0.1",
        "port": settings.db_port,
        "schema": "antenna",
    }
    connections = {
        "SPARK_DEFAULT": {
            "conn_type": "spark",
            # Another master, such as spark://127.0.0.1:7077, must see this machine's files.
            "host": os.environ.get("ANTENNA_SPARK_MASTER") or "local[2]",
            "extra": {"deploy-mode": "client"},
        },
        "POSTGRES_ANTENNA": {**postgres, "login": "antenna", "password": secrets.db_password},
        "POSTGRES_ANTENNA_READER": {
            **postgres,
            "login": READER_ROLE,
            "password": secrets.db_reader_password,
        },
        "KAFKA_DEFAULT": {
            "conn_type": "kafka",
            "extra": {"bootstrap.servers": settings.kafka_bootstrap_servers, "group.id": "antenna"},
        },
    }
    variables = {
        "ANTENNA_STORAGE": settings.storage,
        "ANTENNA_CHECKPOINT": settings.home / "checkpoint",
        "ANTENNA_SIMULATOR_LEDGER": settings.ledger_file,
        "ANTENNA_MAX_LATENESS": MAX_LATENESS,
    }
    return {
        **{f"AIRFLOW_CONN_{name}": json.dumps(value) for name, value in connections.items()},
        **{f"AIRFLOW_VAR_{name}": str(value) for name, value in variables.items()},
    }


def airflow_home(settings: Settings) -> Path:
    """AIRFLOW_HOME of the stack."""
    return settings.home / "airflow"


def password_file(settings: Settings) -> Path:
    """Where the simple auth manager looks for the passwords of its users."""
    return airflow_home(settings) / "passwords.json"


def _airflow(settings: Settings, secrets: Secrets) -> dict[str, str]:
    database = f"airflow:{secrets.airflow_db_password}@127.0.0.1:{settings.db_port}/airflow"
    home = airflow_home(settings)
    options = {
        "CORE__EXECUTOR": "LocalExecutor",
        # The stream, one Spark batch, and what is short beside them.
        "CORE__PARALLELISM": "4",
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__DAGS_FOLDER": PROJECT_ROOT / "dags",
        "CORE__PLUGINS_FOLDER": PROJECT_ROOT / "plugins",
        "CORE__FERNET_KEY": secrets.airflow_fernet_key,
        "CORE__EXECUTION_API_SERVER_URL": f"{settings.airflow_url}/execution/",
        "CORE__HOSTNAME_CALLABLE": "socket.gethostname",
        "CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin,viewer:viewer",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": password_file(settings),
        "DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://{database}",
        "API__HOST": "127.0.0.1",
        "API__PORT": settings.airflow_port,
        "API__BASE_URL": settings.airflow_url,
        "API__WORKERS": "1",
        "API__SECRET_KEY": secrets.airflow_api_secret,
        "API_AUTH__JWT_SECRET": secrets.airflow_jwt_secret,
        "DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "DAG_PROCESSOR__REFRESH_INTERVAL": "30",
        # After a crash its tasks are taken up again within seconds, not within minutes.
        "SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
        "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
        # Airflow's metrics go where those of the jobs go, if anywhere.
        "METRICS__OTEL_ON": "OTEL_EXPORTER_OTLP_ENDPOINT" in os.environ,
        "LOGGING__BASE_LOG_FOLDER": home / "logs",
        "LOGGING__COLORED_CONSOLE_LOG": "False",
    }
    return {"AIRFLOW_HOME": str(home), **{f"AIRFLOW__{name}": str(value) for name, value in options.items()}}
