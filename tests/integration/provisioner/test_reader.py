"""The rights of the page's role, on a real PostgreSQL."""

import psycopg
import pytest

from include.provisioner.reader import READ_TABLES, ReaderRoleError, grant_reader
from tests.conftest import Database, TestPostgres


def test_rights_are_granted_once_and_again(database: Database, postgres: TestPostgres) -> None:
    postgres.ensure_role('a "reader"', "secret")
    with database.connect() as connection:
        for _ in range(2):
            names = grant_reader(connection, 'a "reader"')
        assert names == [".".join(table) for table in READ_TABLES]
    with psycopg.connect(database.url, user='a "reader"', password="secret") as reader:
        assert reader.execute("SELECT count(*) FROM ops.hours").fetchone() == (0,)


def test_a_role_that_is_not_there_is_named_with_the_fix(database: Database) -> None:
    with (
        database.connect() as connection,
        pytest.raises(ReaderRoleError, match=r"The role nobody does not exist.*CREATE ROLE nobody LOGIN"),
    ):
        grant_reader(connection, "nobody")


def test_the_owner_is_no_reader(database: Database) -> None:
    with (
        database.connect() as connection,
        pytest.raises(ReaderRoleError, match="owns the tables and may change them"),
    ):
        grant_reader(connection, database.user)
