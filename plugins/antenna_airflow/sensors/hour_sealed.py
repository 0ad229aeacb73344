"""Waits until an hour is sealed, holding no worker slot."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import BaseSensorOperator, Context
from airflow.sdk.exceptions import AirflowFailException

from antenna_airflow.connections import load_connection, postgres_conninfo
from antenna_airflow.defaults import POSTGRES_CONNECTION, SEAL_GRACE_SECONDS
from antenna_airflow.sealing import read_hour_seal
from antenna_airflow.triggers.hour_sealed import HourSealedTrigger


class HourSealedSensor(BaseSensorOperator):
    """Succeeds at once when the hour that starts at `hour` (ISO 8601, templated) is sealed, or else defers.

    The log says what holds the hour back. After `timeout` the task fails for good.
    """

    template_fields: Sequence[str] = ("hour",)

    def __init__(
        self,
        *,
        hour: str,
        conn_id: str = POSTGRES_CONNECTION,
        grace_seconds: float = SEAL_GRACE_SECONDS,
        poke_interval: float = 5,
        **kwargs: Any,
    ) -> None:
        super().__init__(poke_interval=poke_interval, **kwargs)
        self.hour = hour
        self.conn_id = conn_id
        self.grace_seconds = grace_seconds

    def execute(self, context: Context) -> None:
        """Look once here, so that a sealed hour needs no triggerer."""
        conninfo = postgres_conninfo(load_connection(self.conn_id))
        seal = asyncio.run(read_hour_seal(conninfo, datetime.fromisoformat(self.hour), self.grace_seconds))
        if seal.sealed:
            self.log.info("Hour %s is sealed", self.hour)
            return
        self.log.info("Hour %s is not sealed yet, held back by %s", self.hour, seal.held_back_by)
        self.defer(
            trigger=HourSealedTrigger(self.hour, self.conn_id, self.grace_seconds, self.poke_interval),
            method_name="execute_complete",
            timeout=timedelta(seconds=self.timeout),
        )

    def execute_complete(self, context: Context, event: dict[str, Any]) -> None:
        """Take what the trigger found; raises AirflowFailException when it found an error."""
        if "error" in event:
            raise AirflowFailException(event["error"])
        self.log.info("Hour %s is sealed", self.hour)
