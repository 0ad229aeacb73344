"""PostgreSQL by way of psycopg: connection settings from a JDBC URI, and checks that tables are there."""

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from metering import logs

PASSWORD_VARIABLE: Final = "ANTENNA_DB_PASSWORD"  # noqa: S105 - the name, not the password
# For a driver in a cluster, whose environment everybody may see.
PASSWORD_FILE_VARIABLE: Final = "ANTENNA_DB_PASSWORD_FILE"  # noqa: S105 - as above
_LIBPQ_NAMES: Final = {
    "sslmode": "sslmode",
    "sslrootcert": "sslrootcert",
    "sslcert": "sslcert",
    "sslkey": "sslkey",
    "connectTimeout": "connect_timeout",
    "ApplicationName": "application_name",
}
# A failed connection carries no SQLSTATE, so refusals are told from outages by their text.
_REFUSALS: Final = ("password", "does not exist", "pg_hba.conf", "permission denied", "not permitted")


class DatabaseError(Exception):
    """PostgreSQL cannot be used as asked; the message says what to do."""


def read_password(password_file: str | None) -> str:
    """The password from the file given, or from the variable ``ANTENNA_DB_PASSWORD``, or from the file that
    ``ANTENNA_DB_PASSWORD_FILE`` names; empty where there is none of them.

    Raises:
        DatabaseError: the file cannot be read.
    """
    if password_file is None:
        if PASSWORD_VARIABLE in os.environ or PASSWORD_FILE_VARIABLE not in os.environ:
            return os.environ.get(PASSWORD_VARIABLE, "")
        password_file = os.environ[PASSWORD_FILE_VARIABLE]
    try:
        return Path(password_file).read_text().rstrip("\n")
    except OSError as error:
        raise DatabaseError(f"password file {password_file!r} cannot be read: {error.strerror}") from error


def conninfo(jdbc_uri: str, user: str, password: str) -> str:
    """A libpq connection string from ``jdbc:postgresql://host[:port][,host...]/database[?sslmode=...]``.

    Raises:
        ValueError: not a PostgreSQL JDBC URI, or a parameter without a libpq counterpart.
    """
    parts = urlsplit(jdbc_uri.removeprefix("jdbc:"))
    database = parts.path.removeprefix("/")
    if not jdbc_uri.startswith("jdbc:postgresql://") or not parts.netloc or not database:
        raise ValueError(
            f"JDBC URI {jdbc_uri.partition('?')[0]!r} is not of the form jdbc:postgresql://host:port/database"
        )
    settings = {
        "dbname": database,
        "user": user,
        "application_name": "antenna-metering",
        "connect_timeout": "10",
    }
    if password:
        settings["password"] = password
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in _LIBPQ_NAMES:
            raise ValueError(
                f"JDBC URI parameter {name!r} is not known; use one of {', '.join(_LIBPQ_NAMES)} "
                "(the password comes from the environment or a file)"
            )
        settings[_LIBPQ_NAMES[name]] = value
    hosts = [host.rpartition(":") if ":" in host else (host, "", "5432") for host in parts.netloc.split(",")]
    return make_conninfo(
        "",
        host=",".join(host for host, _, _ in hosts),
        port=",".join(port for _, _, port in hosts),
        **settings,
    )


def connect(dsn: str, *, wait_seconds: float = 0.0, **settings: str) -> psycopg.Connection[Any]:
    """Open a connection in UTC and autocommit, trying again for ``wait_seconds`` while nobody answers.

    ``settings`` are PostgreSQL run-time settings of the session, such as ``lock_timeout``.

    Raises:
        DatabaseError: unreachable, or refused (wrong password, no such database or role).
    """
    options = " ".join(f"-c {name}={value}" for name, value in {"timezone": "UTC", **settings}.items())
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            return psycopg.connect(dsn, autocommit=True, options=options)
        except psycopg.OperationalError as error:
            reason = str(error).strip().replace("\n", "; ")
            refused = any(text in reason for text in _REFUSALS)
            if refused or time.monotonic() > deadline:
                fix = (
                    f"check --jdbc-user and the password in {PASSWORD_VARIABLE} or --jdbc-password-file"
                    if refused
                    else "check --jdbc-uri and that PostgreSQL is running"
                )
                raise DatabaseError(f"PostgreSQL connection failed: {reason}; {fix}") from None
            logs.info(f"waiting for PostgreSQL: {reason}")
            time.sleep(1)


def check_tables(connection: psycopg.Connection[Any], tables: Iterable[str]) -> None:
    """Raises DatabaseError naming the tables, of those given, that do not exist."""
    missing = [
        table
        for table in tables
        if connection.execute("SELECT to_regclass(%s)", (table_name(table).as_string(),)).fetchone()
        == (None,)
    ]
    if missing:
        raise DatabaseError(
            f"table {', '.join(missing)} does not exist: not provisioned yet; "
            "run the DAG provision_schema first"
        )


def table_name(table: str) -> sql.Identifier:
    """A quoted identifier for ``table`` or ``schema.table``."""
    return sql.Identifier(*table.split("."))
