"""Reads the project's database as the role that may only read."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg import errors
from psycopg.conninfo import make_conninfo
from psycopg.rows import class_row, dict_row
from pydantic import BaseModel

from antenna_airflow.connections import find_connection, postgres_conninfo
from antenna_airflow.defaults import PROJECT_ROOT, QUERIES, READER_CONNECTION
from antenna_airflow.page.models import Problem

PAGE_QUERIES = PROJECT_ROOT / "include" / "sql" / "page"
CONNECT_SECONDS = 3
# Beyond this the page gives up, so that nobody's click keeps the database busy.
STATEMENT_SECONDS = 5

RowT = TypeVar("RowT")
ModelT = TypeVar("ModelT", bound=BaseModel)


class UnreadableError(Exception):
    """The data cannot be read; `problem` says so to the reader of the page."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.title)
        self.problem = problem


@contextmanager
def reading() -> Iterator[psycopg.Connection]:
    """A connection that cannot write. Raises UnreadableError where it or a query on it fails."""
    connection = find_connection(READER_CONNECTION)
    if connection is None:
        raise UnreadableError(
            Problem(
                kind="no_connection",
                title="The page is not set up",
                detail=f"There is no Airflow connection {READER_CONNECTION}.",
                advice="Create it under Admin > Connections, with a PostgreSQL role that may only read, "
                "then run provision_schema, which gives that role its rights.",
                dag_id="provision_schema",
            )
        )
    conninfo = make_conninfo(
        postgres_conninfo(connection),
        connect_timeout=CONNECT_SECONDS,
        application_name="antennas page",
        # These queries look up windows by key. None of them may turn into a scan of a table that grows, and
        # compiling them or starting workers takes longer than they do.
        options=f"-c default_transaction_read_only=on -c statement_timeout={STATEMENT_SECONDS}s "
        "-c timezone=UTC -c jit=off -c enable_seqscan=off -c max_parallel_workers_per_gather=0",
    )
    try:
        with psycopg.connect(conninfo) as opened:
            yield opened
    except (errors.UndefinedTable, errors.InsufficientPrivilege) as error:
        raise UnreadableError(
            Problem(
                kind="not_provisioned",
                title="The tables are not there yet",
                detail=_first_line(error),
                advice="Trigger the DAG provision_schema: it makes the tables, the topic and the users.",
                dag_id="provision_schema",
            )
        ) from error
    except errors.QueryCanceled as error:
        raise UnreadableError(
            Problem(
                kind="too_slow",
                title="The database is too busy to answer",
                detail=f"A query took longer than {STATEMENT_SECONDS} s and was ended.",
                advice="The page tries again by itself. If it stays like this, look at what PostgreSQL does.",
            )
        ) from error
    except psycopg.OperationalError as error:
        raise UnreadableError(
            Problem(
                kind="database_down",
                title="PostgreSQL does not answer",
                detail=_first_line(error),
                advice="Start it again, or correct the connection "
                f"{READER_CONNECTION}. Nothing is lost: the stream goes on where it was. "
                "This page goes on by itself.",
            )
        ) from error


def fetch(connection: psycopg.Connection, name: str, **parameters: object) -> list[dict[str, Any]]:
    """The rows of the query include/sql/page/<name>.sql."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_text(name), parameters).fetchall()


def fetch_models(
    connection: psycopg.Connection, name: str, model: type[ModelT], **parameters: object
) -> list[ModelT]:
    """The same, each row as a model."""
    with connection.cursor(row_factory=class_row(model)) as cursor:
        return cursor.execute(_text(name), parameters).fetchall()


def fetch_shared(
    connection: psycopg.Connection, name: str, row: type[RowT], parameters: Mapping[str, object]
) -> RowT | None:
    """The first row of include/sql/queries/<name>.sql, which others ask too."""
    with connection.cursor(row_factory=class_row(row)) as cursor:
        return cursor.execute((QUERIES / f"{name}.sql").read_bytes(), parameters).fetchone()


def stream_rows(connection: psycopg.Connection, name: str, **parameters: object) -> Iterator[tuple[Any, ...]]:
    """The rows of include/sql/page/<name>.sql, a few thousand at a time."""
    with connection.cursor(name="rows") as cursor:
        cursor.itersize = 5_000
        yield from cursor.execute(_text(name), parameters)


def _text(name: str) -> bytes:
    return (PAGE_QUERIES / f"{name}.sql").read_bytes()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0]
