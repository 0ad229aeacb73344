"""Which hour a run of antenna_batch computes."""

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from airflow.providers.postgres.hooks.postgres import PostgresHook
from airflow.sdk.exceptions import AirflowFailException

from antenna_airflow.defaults import POSTGRES_CONNECTION, SEAL_GRACE_SECONDS
from antenna_airflow.sealing import read_sealed_before
from metering.hour_store import archive_removed_at, archive_removed_message
from metering.hours import HOUR, hour_start, parse_hour

KNOWN_KEYS = {"timestamp"}
EXAMPLE = '{"timestamp": "2021-09-26T17:00:00+01:00"}'

logger = logging.getLogger(__name__)


def choose_hour_of_run(context: Mapping[str, Any]) -> str:
    """Choose the hour for the run whose Airflow context is given; return its start, ISO 8601 in UTC.

    Raises AirflowFailException with the message of `choose_hour`, or for an hour whose archive retention
    has removed.
    """
    run = context["dag_run"]
    try:
        hour = choose_hour(
            config=run.conf or {},
            follows_schedule=run.run_type in ("scheduled", "backfill"),
            # A run by hand without a logical date has no data interval either.
            interval_start=run.data_interval_start,
            read_sealed_before=_ask_database,
            now=datetime.now(UTC),
        )
    except ValueError as error:
        raise AirflowFailException(str(error)) from error
    with PostgresHook(POSTGRES_CONNECTION).get_conn() as connection:
        removed_at = archive_removed_at(connection, hour)
    if removed_at is not None:
        raise AirflowFailException(archive_removed_message(hour, removed_at))
    logger.info("Computing the hour from %s", hour.isoformat())
    return hour.isoformat()


def choose_hour(
    *,
    config: Mapping[str, object],
    follows_schedule: bool,
    interval_start: datetime | None,
    read_sealed_before: Callable[[], datetime | None],
    now: datetime,
) -> datetime:
    """Return the start (UTC) of the hour to compute.

    The config's `timestamp` comes first; a run made by the schedule or a backfill computes its data
    interval; any other run the last sealed hour, or the hour of its data interval if that is earlier.

    Raises ValueError that names value, rule and fix: an unknown key, a bad timestamp, an hour that has
    not begun, or no sealed hour yet.
    """
    unknown = sorted(config.keys() - KNOWN_KEYS)
    if unknown:
        raise ValueError(f"config has the unknown key {', '.join(unknown)}; it may only be {EXAMPLE}")
    timestamp = config.get("timestamp")
    if timestamp is not None:
        hour = parse_hour(timestamp)
    elif follows_schedule and interval_start is not None:
        hour = hour_start(interval_start)
    else:
        hour = _last_sealed_hour(read_sealed_before(), interval_start)
    if hour > now:
        raise ValueError(f"the hour {hour.isoformat()} has not begun; give a timestamp of the past")
    return hour


def _last_sealed_hour(sealed_before: datetime | None, interval_start: datetime | None) -> datetime:
    if sealed_before is None:
        raise ValueError(
            "no hour is sealed yet, because the stream has not committed anything; start antenna_streaming, "
            f"or name an hour in the config: {EXAMPLE}"
        )
    last = hour_start(sealed_before) - HOUR
    return last if interval_start is None else min(last, hour_start(interval_start))


def _ask_database() -> datetime | None:
    with PostgresHook(POSTGRES_CONNECTION).get_conn() as connection:
        return read_sealed_before(connection, SEAL_GRACE_SECONDS)
