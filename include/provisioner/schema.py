"""Creates and upgrades the database: numbered migrations, kept by yoyo, and the public tables' shapes."""

import logging
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import class_row
from yoyo import read_migrations
from yoyo.backends import PostgresqlPsycopgBackend
from yoyo.connections import DatabaseURI
from yoyo.migrations import Migration, default_migration_table

SQL_FOLDER = Path(__file__).resolve().parents[1] / "sql"
OPERATIONAL_SCHEMA = "ops"
# Any fixed number: whoever migrates this database holds the advisory lock of this key.
MIGRATION_LOCK_KEY = 4_283_021

logger = logging.getLogger(__name__)


class TableShapeError(Exception):
    """A public table is not what the jobs and dashboards rely on."""


class TableShape(NamedTuple):
    """Columns (name to type, as PostgreSQL's format_type writes it) and the primary key of one table."""

    columns: dict[str, str]
    primary_key: tuple[str, ...]

    def __str__(self) -> str:
        columns = ", ".join(f"{name} {kind}" for name, kind in self.columns.items())
        return f"({columns}), primary key ({', '.join(self.primary_key)})"


class _Column(NamedTuple):
    """One row of table_shapes.sql."""

    table_name: str
    column_name: str
    type: str
    must_be_given: bool
    key_position: int | None


_TOTALS = {"timestamp": "timestamp with time zone", "id": "text", "value": "bigint", "type": "text"}

PUBLIC_TABLES = {
    "user_metadata": TableShape({"id": "text", "name": "text", "email": "text", "quota": "bigint"}, ("id",)),
    "bytes": TableShape(_TOTALS, ("timestamp", "type", "id")),
    "bytes_hourly": TableShape(_TOTALS, ("timestamp", "type", "id")),
    "user_quota_limit": TableShape(
        {"email": "text", "usage": "bigint", "quota": "bigint", "timestamp": "timestamp with time zone"},
        ("timestamp", "email"),
    ),
}


def apply_migrations(db_url: str) -> list[str]:
    """Bring the database at `db_url` (libpq form) up to date; return the ids of the migrations newly applied.

    Safe to run again, after a crash, and by two at once. Sets the database's time zone to UTC.
    Raises TableShapeError before anything is changed when a public table exists in another shape.
    """
    with psycopg.connect(db_url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (MIGRATION_LOCK_KEY,))
        check_table_shapes(connection, missing_ok=True)
        _set_time_zone_to_utc(connection)
        connection.execute(
            sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(OPERATIONAL_SCHEMA))
        )
        applied = _apply_pending(db_url)
        check_table_shapes(connection)
    return applied


def check_table_shapes(connection: psycopg.Connection, missing_ok: bool = False) -> None:
    """Compare the public tables with what the jobs and dashboards rely on.

    Further columns are accepted as long as a row can be inserted without naming them.
    Raises TableShapeError naming each table, what it has, what it must have, and the fix.
    """
    actual, extra_required = _read_shapes(connection)
    problems = []
    for table, wanted in PUBLIC_TABLES.items():
        found = actual.get(table)
        if found is None:
            if not missing_ok:
                problems.append(
                    f"Table public.{table} does not exist. It must have {wanted}. "
                    "Fix: run the DAG provision_schema."
                )
        elif not _fits(found, wanted) or extra_required[table]:
            problems.append(
                f"Table public.{table} has the wrong shape: it has {found}; it must have {wanted}, where "
                "any further column must have a default or accept NULL. "
                f"Fix: move the table away (ALTER TABLE public.{table} RENAME TO {table}_old) or alter it "
                "to that shape, then run the DAG provision_schema again."
            )
    if problems:
        raise TableShapeError("\n".join(problems))


def _fits(found: TableShape, wanted: TableShape) -> bool:
    """The order of columns does not matter, neither in the table nor in its key."""
    same_key = set(found.primary_key) == set(wanted.primary_key)
    return same_key and wanted.columns.items() <= found.columns.items()


def _read_shapes(connection: psycopg.Connection) -> tuple[dict[str, TableShape], dict[str, list[str]]]:
    """The shapes of the public tables that exist, and the unknown columns that an insert must name."""
    query = (SQL_FOLDER / "queries" / "table_shapes.sql").read_bytes()
    with connection.cursor(row_factory=class_row(_Column)) as cursor:
        rows = cursor.execute(query, {"tables": list(PUBLIC_TABLES)}).fetchall()
    columns: dict[str, dict[str, str]] = defaultdict(dict)
    keys: dict[str, list[tuple[int, str]]] = defaultdict(list)
    extra_required: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        columns[row.table_name][row.column_name] = row.type
        if row.key_position is not None:
            keys[row.table_name].append((row.key_position, row.column_name))
        if row.must_be_given and row.column_name not in PUBLIC_TABLES[row.table_name].columns:
            extra_required[row.table_name].append(row.column_name)
    shapes = {
        table: TableShape(found, tuple(name for _, name in sorted(keys[table])))
        for table, found in columns.items()
    }
    return shapes, extra_required


def _set_time_zone_to_utc(connection: psycopg.Connection) -> None:
    """Make UTC the default of every new session of this database, so that dashboards read UTC."""
    setting = connection.execute(
        "SELECT 1 FROM pg_db_role_setting JOIN pg_database ON pg_database.oid = setdatabase "
        "WHERE datname = current_database() AND setrole = 0 AND 'TimeZone=UTC' = ANY (setconfig)"
    ).fetchone()
    if setting is None:
        database = sql.Identifier(connection.info.dbname)
        connection.execute(sql.SQL("ALTER DATABASE {} SET timezone TO 'UTC'").format(database))
    connection.execute("SET timezone TO 'UTC'")


def _apply_pending(db_url: str) -> list[str]:
    """Apply what is not yet applied. The caller holds the advisory lock."""
    with _AtomicBackend(_yoyo_uri(db_url), default_migration_table) as backend:
        backend.init_database()
        # Whoever left yoyo's own lock row behind is dead: the advisory lock is ours.
        backend.break_lock()
        pending = backend.to_apply(read_migrations(str(SQL_FOLDER / "migrations")))
        for migration in pending:
            backend.apply_one(migration)
            logger.info("Applied migration %s", migration.id)
        return [migration.id for migration in pending]


def _yoyo_uri(db_url: str) -> DatabaseURI:
    parameters = {key: str(value) for key, value in conninfo_to_dict(db_url).items() if value is not None}
    return DatabaseURI(
        scheme="postgresql+psycopg",
        username=parameters.pop("user", None),
        password=parameters.pop("password", None),
        hostname=parameters.pop("host", None),
        port=parameters.pop("port", None),
        database=parameters.pop("dbname", None),
        args={**parameters, "schema": OPERATIONAL_SCHEMA},
    )


class _AtomicBackend(PostgresqlPsycopgBackend):  # type: ignore[misc]
    """yoyo commits a migration and the note that it was applied one after the other; a crash in between
    would leave a database on which the next run fails. Here both stand in one transaction."""

    def apply_one(self, migration: Migration, force: bool = False, mark: bool = True) -> None:
        migration.load()
        if not migration.use_transactions:
            super().apply_one(migration, force, mark)
            return
        self.ensure_internal_schema_updated()
        with self.transaction():
            migration.process_steps(self, "apply", force=force)
            self.log_migration(migration, "apply")
            self.mark_one(migration, log=False)
