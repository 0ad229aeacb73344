"""Airflow connections, loaded with an error that says how to mend them."""

from dataclasses import dataclass

from airflow.providers.postgres.hooks.postgres import PostgresHook
from airflow.sdk import BaseHook, Connection
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException
from psycopg.conninfo import make_conninfo

from antenna_airflow.defaults import POSTGRES_CONNECTION


def load_connection(conn_id: str) -> Connection:
    """Return the connection; raises AirflowFailException naming the fix when it does not load."""
    try:
        return BaseHook.get_connection(conn_id)
    except Exception as error:
        raise AirflowFailException(
            f"Connection {conn_id} does not load: {error}. Create it under Admin > Connections, or set the "
            f"environment variable AIRFLOW_CONN_{conn_id.upper()} to JSON such as "
            '{"conn_type": "...", "host": "..."}.'
        ) from error


def find_connection(conn_id: str) -> Connection | None:
    """Return the connection, or None where there is none."""
    try:
        return BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        return None


@dataclass(frozen=True)
class SparkMaster:
    """Where Spark jobs run. `conf` holds Spark properties for all of them."""

    url: str
    cluster_mode: bool
    conf: dict[str, str]

    @property
    def is_kubernetes(self) -> bool:
        return self.url.startswith("k8s")

    @property
    def is_yarn(self) -> bool:
        return self.url.startswith("yarn")


def load_spark_master(conn_id: str) -> SparkMaster:
    """What the connection says: its host, and of its extra `deploy-mode` and `conf`.

    Raises AirflowFailException when it does not load, names no master (the provider would submit to YARN
    without a word), or asks for what Spark cannot do.
    """
    connection = load_connection(conn_id)
    if connection.conn_type == "spark" and not connection.host:
        raise AirflowFailException(
            f"Connection {conn_id} names no Spark master: set its host to local[2], spark://host:port, "
            "yarn or k8s://https://host:port."
        )
    extra = connection.extra_dejson
    conf = extra.get("conf", {})
    if not isinstance(conf, dict):
        raise AirflowFailException(
            f"Connection {conn_id}: conf {conf!r} in its extra is no JSON object of Spark properties."
        )
    host = str(connection.host or "")
    # Made from a URI, the connection keeps the scheme in its type.
    url = host if connection.conn_type == "spark" else f"{connection.conn_type}://{host}"
    master = SparkMaster(url, extra.get("deploy-mode") == "cluster", {k: str(v) for k, v in conf.items()})
    if master.cluster_mode and not (master.is_kubernetes or master.is_yarn):
        raise AirflowFailException(
            f"Connection {conn_id}: deploy-mode cluster is for YARN and Kubernetes: Spark runs no Python "
            f"driver inside {url!r}. Set deploy-mode to client."
        )
    return master


def postgres_conninfo(connection: Connection) -> str:
    """The libpq connection string, password included, of a connection of type postgres."""
    extra = {
        name: value
        for name, value in connection.extra_dejson.items()
        if name not in PostgresHook.ignored_extra_options
    }
    return make_conninfo(
        "",
        host=connection.host,
        port=connection.port,
        dbname=connection.schema,
        user=connection.login,
        password=connection.password,
        **extra,
    )


def antenna_db_conninfo() -> str:
    """The libpq connection string of the project's database."""
    return postgres_conninfo(load_connection(POSTGRES_CONNECTION))
