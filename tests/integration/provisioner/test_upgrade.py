"""A database of each older version, with data in it, becomes one of this version, and loses nothing."""

from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from include.provisioner import schema
from include.provisioner.schema import apply_migrations
from metering.commits import StreamStore
from metering.hour_store import HourStore
from tests.conftest import Database

MIGRATIONS = sorted((schema.SQL_FOLDER / "migrations").glob("*.sql"))
HOUR = datetime(2026, 11, 24, 16, tzinfo=UTC)
# What the stream and the batch had written when only the first two migrations were there.
DATA = """
INSERT INTO user_metadata VALUES ('d1', 'ana', 'ana@x.org', 7);
INSERT INTO bytes VALUES ('2026-11-24 16:05Z', 'SKYPE', 12, 'app_total_bytes');
INSERT INTO bytes_hourly VALUES ('2026-11-24 16:00Z', 'SKYPE', 12, 'app_total_bytes');
INSERT INTO user_quota_limit VALUES ('ana@x.org', 12, 7, '2026-11-24 16:00Z');
INSERT INTO ops.streams VALUES ('devices', 3, 'stopped', '', 'host', 1, NULL, now(), now(), now());
INSERT INTO ops.stream_offsets VALUES ('devices', 0, 42, 42, '2026-11-24 16:05Z', now());
INSERT INTO ops.micro_batches
    (topic, epoch, committed_at, accepted, rejected, rejected_by_reason, newest_event_time, executor_ms)
    VALUES ('devices', 3, now(), 2, 1, '{"not_json": 1}', '2026-11-24 16:05Z', 10);
INSERT INTO ops.archive_files VALUES
    ('events/a.parquet', 'events', '2026-11-24 16:00Z', 2, 12, 900, '{"0": [0, 1]}', 1),
    ('rejected/b.parquet', 'rejected', '2026-11-24 16:00Z', 1, 0, 900, '{"0": [2, 2]}', 1);
INSERT INTO ops.lost_offsets VALUES ('devices', 0, 5, 9, now(), now());
INSERT INTO ops.hours VALUES ('2026-11-24 16:00Z', 1, 2, 12, now());
"""
TABLES = """
SELECT table_schema, table_name, array_agg(column_name::text ORDER BY ordinal_position)
FROM information_schema.columns INNER JOIN information_schema.tables USING (table_schema, table_name)
WHERE table_schema IN ('public', 'ops') AND table_type = 'BASE TABLE' AND table_name !~ 'yoyo'
GROUP BY 1, 2
"""


def contents(
    connection: psycopg.Connection, tables: list[tuple[str, str, list[str]]]
) -> dict[str, list[tuple[object, ...]]]:
    """Table -> its rows, with these columns."""
    found = {}
    for folder, table, columns in tables:
        query = sql.SQL("SELECT {} FROM {} ORDER BY 1, 2").format(
            sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Identifier(folder, table)
        )
        found[f"{folder}.{table}"] = connection.execute(query).fetchall()
    return found


@pytest.mark.parametrize("version", range(2, len(MIGRATIONS)))
def test_from_each_version_with_data_in_place(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    with database.connect() as connection:
        connection.execute("DROP SCHEMA ops CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    folder = tmp_path / "migrations"
    folder.mkdir()
    for path in MIGRATIONS[:version]:
        (folder / path.name).write_text(path.read_text())
    (tmp_path / "queries").symlink_to(schema.SQL_FOLDER / "queries")
    with monkeypatch.context() as older:
        older.setattr(schema, "SQL_FOLDER", tmp_path)
        assert len(apply_migrations(database.url)) == version
    with database.connect() as connection:
        connection.execute(DATA)
        tables = connection.execute(TABLES).fetchall()
        before = contents(connection, tables)
        filled = [table for table, rows in before.items() if rows]
        assert len(filled) == 10
        assert apply_migrations(database.url) == [path.stem for path in MIGRATIONS[version:]]
        assert contents(connection, tables) == before

    # This version's jobs go on where that one stopped.
    store = StreamStore(database.url, "devices", "bytes")
    assert store.open_epoch("host", 2, None) == 4
    assert store.next_offsets() == {0: 42}
    assert store.manifest() == {"events/a.parquet", "rejected/b.parquet"}
    with HourStore.locked(database.url, HOUR) as hour:
        assert hour.manifest().files == [("events/a.parquet", 2, 12, None)]
