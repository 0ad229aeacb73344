"""Lets the role of the page in the Airflow UI read what the page shows, and nothing else."""

import psycopg
from psycopg import sql

READ_TABLES = (
    ("public", "user_metadata"),
    ("public", "bytes"),
    ("public", "bytes_hourly"),
    ("public", "user_quota_limit"),
    ("ops", "streams"),
    ("ops", "stream_offsets"),
    ("ops", "stream_lag"),
    ("ops", "micro_batches"),
    ("ops", "archive_files"),
    ("ops", "lost_offsets"),
    ("ops", "hours"),
    ("ops", "totals"),
)


class ReaderRoleError(Exception):
    """The role cannot be given its rights; the message names the fix."""


def grant_reader(connection: psycopg.Connection, role: str) -> list[str]:
    """Let `role` read the tables of the page; return their names. `connection` is the owner's.

    The role is made, with its password, by whoever administers the server: no right to make roles is
    needed here, and no password passes through. Idempotent.

    Raises ReaderRoleError when the role does not exist, or is the owner itself.
    """
    if role == connection.info.user:
        raise ReaderRoleError(
            f"The page would read as {role}, which owns the tables and may change them. "
            "Give it a role of its own: CREATE ROLE antenna_reader LOGIN, and name that in the connection."
        )
    if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone() is None:
        raise ReaderRoleError(
            f"The role {role} does not exist. Let an administrator of the server make it: "
            f"CREATE ROLE {role} LOGIN, then \\password {role} in psql; then run provision_schema again."
        )
    reader = sql.Identifier(role)
    with connection.transaction():
        connection.execute(sql.SQL("GRANT USAGE ON SCHEMA public, ops TO {}").format(reader))
        for table in READ_TABLES:
            connection.execute(sql.SQL("GRANT SELECT ON {} TO {}").format(sql.Identifier(*table), reader))
    return [".".join(table) for table in READ_TABLES]
