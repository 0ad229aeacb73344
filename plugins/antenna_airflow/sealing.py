"""Whether an hour is sealed: no more of its events are expected from the stream."""

from datetime import datetime
from typing import Any, NamedTuple

import psycopg
from psycopg.rows import dict_row

from antenna_airflow.defaults import QUERIES
from metering.hours import HOUR

SEALED_BEFORE = (QUERIES / "sealed_before.sql").read_bytes()
PARTITIONS_BEHIND = (QUERIES / "partitions_behind.sql").read_bytes()


class HourSeal(NamedTuple):
    """Whether an hour is sealed, and if not, a sentence that says what holds it back."""

    sealed: bool
    held_back_by: str


def read_sealed_before(connection: psycopg.Connection, grace_seconds: float) -> datetime | None:
    """The instant before which every hour is sealed; None while the stream has not committed anything."""
    row = connection.execute(SEALED_BEFORE, {"grace_seconds": grace_seconds}).fetchone()
    return None if row is None else row[0]


async def read_hour_seal(conninfo: str, hour: datetime, grace_seconds: float) -> HourSeal:
    """Ask the database whether the hour that starts at `hour` (UTC) is sealed."""
    parameters = {"instant": hour + HOUR, "grace_seconds": grace_seconds}
    async with await psycopg.AsyncConnection.connect(conninfo, connect_timeout=10) as connection:
        row = await (await connection.execute(SEALED_BEFORE, parameters)).fetchone()
        if row is not None and row[0] >= hour + HOUR:
            return HourSeal(True, "")
        if row is None:
            return HourSeal(False, "the stream has not committed anything yet: is antenna_streaming running?")
        cursor = connection.cursor(row_factory=dict_row)
        behind = await (await cursor.execute(PARTITIONS_BEHIND, parameters)).fetchall()
    partitions = "; ".join(map(_describe, behind))
    return HourSeal(False, partitions or f"the {grace_seconds:.0f} s of grace after its end")


def _describe(partition: dict[str, Any]) -> str:
    return (
        "partition {topic}/{partition} (lag {lag} records, newest event {event_clock}, "
        "last without lag {caught_up_at})".format_map(partition)
    )
