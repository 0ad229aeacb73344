"""Airflow connections, loaded with an error that says how to mend them."""

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


def check_spark_connection(conn_id: str) -> None:
    """Raise AirflowFailException unless the connection loads and names a Spark master.

    The provider would submit to YARN without a word.
    """
    connection = load_connection(conn_id)
    if connection.conn_type == "spark" and not connection.host:
        raise AirflowFailException(
            f"Connection {conn_id} names no Spark master: set its host to local[2], spark://host:port, "
            "yarn or k8s://https://host:port."
        )


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
