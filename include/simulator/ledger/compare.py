"""Compares the tables in PostgreSQL with what the ledger says they must hold."""

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import psycopg

from include.simulator.ledger import tables
from include.simulator.ledger.store import Ledger
from include.simulator.ledger.tables import User
from include.simulator.tally import TotalKey

TOTALS_QUERY: Final = """
SELECT timestamp, type, id, value FROM public.{table}
WHERE %(hours)s::timestamptz[] IS NULL OR date_trunc('hour', timestamp, 'UTC') = ANY(%(hours)s)
"""
QUOTA_QUERY: Final = """
SELECT timestamp, email, usage, quota FROM public.user_quota_limit
WHERE %(hours)s::timestamptz[] IS NULL OR timestamp = ANY(%(hours)s)
"""


class _Table(NamedTuple):
    """Expected rows, as key to value, and the query for the actual ones."""

    name: str
    query: str
    key_columns: int
    expected: dict[tuple[Any, ...], tuple[int, ...]]


def compare_with_database(
    ledger: Ledger,
    connection: psycopg.Connection[Any],
    users: Mapping[str, User],
    hours: Collection[datetime] | None = None,
) -> list[str]:
    """What differs between ledger and ``bytes``, ``bytes_hourly``, ``user_quota_limit``; empty if equal.

    Args:
        ledger: what was sent; no sender should be at work in the compared hours.
        connection: to the database; its role must be allowed to read the three tables.
        users: by device id (``read_users``), as in ``user_metadata``.
        hours: starts of the hours to compare (aware datetimes); None: everything.

    Raises:
        psycopg.Error: the database cannot be read.
    """
    differences = _pending_differences(ledger, hours)
    totals = ledger.totals()
    if hours is not None:
        totals = tables.in_hours(totals, hours)
    parameters = {"hours": None if hours is None else list(hours)}
    for table in _tables(totals, users):
        rows = connection.execute(table.query.encode(), parameters).fetchall()
        actual = {
            (row[0].astimezone(UTC), *row[1 : table.key_columns]): tuple(row[table.key_columns :])
            for row in rows
        }
        differences += _table_differences(table, actual)
    return differences


def _tables(totals: Mapping[TotalKey, int], users: Mapping[str, User]) -> Iterable[_Table]:
    bytes_rows = tables.bytes_rows(totals)
    hourly_rows = tables.bytes_hourly_rows(totals, users)
    for name, rows in (("bytes", bytes_rows), ("bytes_hourly", hourly_rows)):
        expected: dict[tuple[Any, ...], tuple[int, ...]] = {
            (row.timestamp, row.type, row.id): (row.value,) for row in rows
        }
        yield _Table(name, TOTALS_QUERY.format(table=name), 3, expected)
    quota_rows = tables.user_quota_limit_rows(totals, users)
    yield _Table(
        "user_quota_limit",
        QUOTA_QUERY,
        2,
        {(row.timestamp, row.email): (row.usage, row.quota) for row in quota_rows},
    )


def _pending_differences(ledger: Ledger, hours: Collection[datetime] | None) -> list[str]:
    return [
        f"ledger: sender {sender!r} has {tally.events} events under way; stop it, or start it again if it "
        "was killed, so that it completes them"
        for sender, tally in ledger.pending_tallies().items()
        if hours is None or tables.in_hours(tally.totals, hours)
    ]


def _table_differences(table: _Table, actual: Mapping[tuple[Any, ...], tuple[int, ...]]) -> list[str]:
    differences = []
    for key in sorted(table.expected.keys() | actual.keys()):
        expected, found = table.expected.get(key), actual.get(key)
        if expected != found:
            label = " ".join([f"{key[0]:%Y-%m-%dT%H:%M:%SZ}", *key[1:]])
            differences.append(f"{table.name} {label}: expected {_show(expected)}, found {_show(found)}")
    return differences


def _show(values: tuple[int, ...] | None) -> str:
    return "no row" if values is None else " / ".join(str(value) for value in values)
