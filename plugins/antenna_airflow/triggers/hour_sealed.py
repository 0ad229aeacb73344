"""Waits in the triggerer until an hour is sealed."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import psycopg
from airflow.sdk import BaseHook
from airflow.triggers.base import BaseTrigger, TriggerEvent
from psycopg import errors

from antenna_airflow.connections import postgres_conninfo
from antenna_airflow.sealing import HourSeal, read_hour_seal

LOG_EVERY_SECONDS = 60


class HourSealedTrigger(BaseTrigger):
    """Fires `{"sealed": True}` once `hour` (ISO 8601, UTC) is sealed, or `{"error": message}`.

    A database that cannot be reached is waited for. The log says, once a minute, what holds the hour back.
    """

    def __init__(self, hour: str, conn_id: str, grace_seconds: float, poll_seconds: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.hour = hour
        self.conn_id = conn_id
        self.grace_seconds = grace_seconds
        self.poll_seconds = poll_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """What the triggerer needs to make this trigger again; no secret is among it."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "hour": self.hour,
                "conn_id": self.conn_id,
                "grace_seconds": self.grace_seconds,
                "poll_seconds": self.poll_seconds,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll the database until the hour is sealed."""
        polls_per_log = max(1, round(LOG_EVERY_SECONDS / self.poll_seconds))
        polls = 0
        while True:
            try:
                seal = await self._poll()
            except errors.UndefinedTable as error:
                yield _event(error=f"{error.diag.message_primary}; run the DAG provision_schema")
                return
            if seal.sealed:
                yield _event(sealed=True)
                return
            if polls % polls_per_log == 0:
                self.log.info("Hour %s is not sealed yet, held back by %s", self.hour, seal.held_back_by)
            polls += 1
            await asyncio.sleep(self.poll_seconds)

    async def _poll(self) -> HourSeal:
        try:
            conninfo = postgres_conninfo(await BaseHook.aget_connection(self.conn_id))
            return await read_hour_seal(conninfo, datetime.fromisoformat(self.hour), self.grace_seconds)
        except psycopg.OperationalError as error:
            return HourSeal(False, f"PostgreSQL, which cannot be asked: {error}")


def _event(**payload: object) -> TriggerEvent:
    return TriggerEvent(payload)  # type: ignore[no-untyped-call]
