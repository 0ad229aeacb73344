"""Migrations and table shapes on a real PostgreSQL."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from include.provisioner import schema
from include.provisioner.schema import TableShapeError, apply_migrations, check_table_shapes
from tests.conftest import TestPostgres

MIGRATIONS = sorted(path.stem for path in (schema.SQL_FOLDER / "migrations").glob("*.sql"))

# What the contracts say, spelled out once more: a change here breaks dashboards.
CONTRACT = {
    "user_metadata": ({"id": "text", "name": "text", "email": "text", "quota": "bigint"}, {"id"}),
    "bytes": (
        {"timestamp": "timestamp with time zone", "id": "text", "value": "bigint", "type": "text"},
        {"timestamp", "type", "id"},
    ),
    "bytes_hourly": (
        {"timestamp": "timestamp with time zone", "id": "text", "value": "bigint", "type": "text"},
        {"timestamp", "type", "id"},
    ),
    "user_quota_limit": (
        {"email": "text", "usage": "bigint", "quota": "bigint", "timestamp": "timestamp with time zone"},
        {"timestamp", "email"},
    ),
}


@pytest.fixture
def empty_url(postgres: TestPostgres) -> Iterator[str]:
    """A database without anything in it, its zone not UTC, its name and role such as need quoting."""
    with psycopg.connect(postgres.url) as connection:
        user = connection.info.user
    with postgres.connect_as_superuser() as superuser:
        superuser.execute(f'CREATE DATABASE "Empty ✓ db" OWNER "{user}"')
        superuser.execute("""ALTER DATABASE "Empty ✓ db" SET timezone TO 'America/Lima'""")
        yield make_conninfo(postgres.url, dbname="Empty ✓ db")
        superuser.execute('DROP DATABASE "Empty ✓ db" WITH (FORCE)')


def dump(url: str) -> list[tuple[object, ...]]:
    """Every table, column and yoyo's list of migrations with their times."""
    with psycopg.connect(url) as connection:
        columns = connection.execute(
            "SELECT table_schema, table_name, column_name, data_type FROM information_schema.columns "
            "WHERE table_schema IN ('public', 'ops') ORDER BY 1, 2, 3"
        ).fetchall()
        applied = connection.execute("SELECT * FROM ops._yoyo_migration ORDER BY migration_id").fetchall()
    return columns + applied


def test_creates_the_tables_of_the_contract_in_utc(empty_url: str) -> None:
    assert apply_migrations(empty_url) == MIGRATIONS
    with psycopg.connect(empty_url) as connection:
        assert connection.execute("SHOW timezone").fetchone() == ("UTC",)
        for table, (columns, key) in CONTRACT.items():
            found = connection.execute(
                "SELECT column_name, data_type FROM information_schema.columns "
                "WHERE table_schema = 'public' AND table_name = %s",
                (table,),
            ).fetchall()
            assert dict(found) == columns
            found_key = connection.execute(
                "SELECT attname FROM pg_index "
                "JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey) "
                "WHERE indrelid = to_regclass(%s) AND indisprimary",
                (f"public.{table}",),
            ).fetchall()
            assert {name for (name,) in found_key} == key


def test_second_run_changes_nothing(empty_url: str) -> None:
    apply_migrations(empty_url)
    before = dump(empty_url)
    assert apply_migrations(empty_url) == []
    assert dump(empty_url) == before


def test_runs_at_the_same_time_apply_each_migration_once(empty_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        applied = list(pool.map(apply_migrations, [empty_url] * 4))
    assert sorted(chain.from_iterable(applied)) == MIGRATIONS


def test_goes_on_after_a_crash(empty_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration that breaks in the middle leaves nothing; yoyo's lock of a dead process is taken over."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    for path in (schema.SQL_FOLDER / "migrations").glob("*.sql"):
        (folder / path.name).write_text(path.read_text())
    (folder / "9999_broken.sql").write_text("CREATE TABLE ops.half (id INT);\nSELECT no_such_function();")
    (tmp_path / "queries").symlink_to(schema.SQL_FOLDER / "queries")
    monkeypatch.setattr(schema, "SQL_FOLDER", tmp_path)
    with pytest.raises(psycopg.errors.UndefinedFunction):
        apply_migrations(empty_url)
    with psycopg.connect(empty_url, autocommit=True) as connection:
        assert connection.execute("SELECT to_regclass('ops.half')").fetchone() == (None,)
        connection.execute("INSERT INTO ops.yoyo_lock (locked, ctime, pid) VALUES (1, now(), 1)")
    (folder / "9999_broken.sql").write_text("CREATE TABLE ops.half (id INT);")
    assert apply_migrations(empty_url) == ["9999_broken"]


def test_existing_table_of_the_right_shape_keeps_its_rows(empty_url: str) -> None:
    with psycopg.connect(empty_url) as connection:
        connection.execute(
            "CREATE TABLE bytes (note TEXT, type TEXT, value BIGINT, id TEXT, timestamp TIMESTAMPTZ, "
            "PRIMARY KEY (id, type, timestamp))"
        )
        connection.execute("INSERT INTO bytes VALUES ('kept', 'app_total_bytes', 7, 'SKYPE', '2021-09-26Z')")
    assert apply_migrations(empty_url) == MIGRATIONS
    with psycopg.connect(empty_url) as connection:
        assert connection.execute("SELECT note, value FROM bytes").fetchall() == [("kept", 7)]


@pytest.mark.parametrize(
    ("columns", "complaint"),
    [
        (
            "timestamp TIMESTAMP, id TEXT, value BIGINT, type TEXT, PRIMARY KEY (timestamp, type, id)",
            "timestamp timestamp without time zone",
        ),
        (
            "timestamp TIMESTAMPTZ, id TEXT, value INT, type TEXT, PRIMARY KEY (timestamp, type, id)",
            "value integer",
        ),
        (
            "timestamp TIMESTAMPTZ, id CHAR(9), value BIGINT, type TEXT, PRIMARY KEY (timestamp, type, id)",
            "id character(9)",
        ),
        (
            "timestamp TIMESTAMPTZ, id TEXT, value BIGINT, PRIMARY KEY (timestamp, id)",
            "it has (timestamp timestamp with time zone, id text, value bigint), primary key (timestamp, id)",
        ),
        (
            "timestamp TIMESTAMPTZ, id TEXT, value BIGINT, type TEXT, PRIMARY KEY (timestamp, id)",
            "primary key (timestamp, id); it must have",
        ),
        (
            "timestamp TIMESTAMPTZ, id TEXT, value BIGINT, type TEXT",
            "primary key (); it must have",
        ),
        (
            "timestamp TIMESTAMPTZ, id TEXT, value BIGINT, type TEXT, zone INT NOT NULL, "
            "PRIMARY KEY (timestamp, type, id)",
            "zone integer",
        ),
    ],
)
def test_existing_table_of_the_wrong_shape_is_refused_before_anything_changes(
    empty_url: str, columns: str, complaint: str
) -> None:
    with psycopg.connect(empty_url) as connection:
        connection.execute(f"CREATE TABLE bytes_hourly ({columns})")
    with pytest.raises(TableShapeError) as raised:
        apply_migrations(empty_url)
    message = str(raised.value)
    assert message.startswith("Table public.bytes_hourly has the wrong shape: ")
    assert complaint in message
    assert "it must have (timestamp timestamp with time zone, id text, value bigint, type text)" in message
    assert "Fix: move the table away (ALTER TABLE public.bytes_hourly RENAME TO bytes_hourly_old)" in message
    with psycopg.connect(empty_url) as connection:
        tables = connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema IN ('public', 'ops')"
        ).fetchall()
        assert tables == [("bytes_hourly",)]
        assert connection.execute("SHOW timezone").fetchone() == ("America/Lima",)


def test_missing_tables_are_named(empty_url: str) -> None:
    with psycopg.connect(empty_url) as connection, pytest.raises(TableShapeError) as raised:
        check_table_shapes(connection)
    for table in CONTRACT:
        assert f"Table public.{table} does not exist" in str(raised.value)
    assert "run the DAG provision_schema" in str(raised.value)
