"""What the tasks of the DAGs maintenance and replay_rejected do."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

from airflow.providers.postgres.hooks.postgres import PostgresHook
from airflow.sdk import Variable
from airflow.sdk.exceptions import AirflowFailException

from antenna_airflow.connections import antenna_db_conninfo
from antenna_airflow.defaults import POSTGRES_CONNECTION, SEAL_GRACE_SECONDS
from antenna_airflow.sealing import read_sealed_before
from include.maintenance.compaction import compact_closed_hours
from include.maintenance.integrity import check_integrity
from include.maintenance.replay import Choice, Rules, replay_rejected
from include.maintenance.retention import Ages, apply_retention, check_ages
from include.maintenance.session import MaintenanceError, MaintenanceSession
from metering.arguments import DEFAULT_MAX_FUTURE, DEFAULT_MAX_LATENESS, parse_lateness
from metering.hours import parse_instant
from metering.reasons import BROKEN_RULES

logger = logging.getLogger(__name__)


def sweep_leftovers() -> int:
    """Remove what crashes left; returns how many files that were."""
    with _session() as session:
        removed = session.sweep()
    logger.info("%d leftovers were removed: %s", len(removed), ", ".join(removed) or "none")
    return len(removed)


def compact_hours(params: Mapping[str, Any]) -> list[str]:
    """Merge the files of closed hours; returns the paths of files that are damaged, which it left."""
    with PostgresHook(POSTGRES_CONNECTION).get_conn() as connection:
        closed_before = read_sealed_before(connection, SEAL_GRACE_SECONDS)
    if closed_before is None:
        logger.info("No hour is closed yet: the stream has not committed anything")
        return []
    with _session() as session:
        report = compact_closed_hours(session, closed_before, params["target_file_mb"] * 2**20)
    logger.log(logging.WARNING if report.damaged else logging.INFO, "%s", report)
    return sorted(report.damaged)


def remove_old(params: Mapping[str, Any]) -> None:
    """Remove what is older than the params say. Raises AirflowFailException for ages that cannot be."""
    ages = Ages(
        events=params["keep_events_days"],
        windows=params["keep_bytes_days"],
        rejected=params["keep_rejected_days"],
        history=params["keep_history_days"],
    )
    try:
        check_ages(ages, _max_lateness())
    except MaintenanceError as error:
        raise AirflowFailException(str(error)) from error
    with _session() as session:
        report = apply_retention(session, ages)
    logger.log(logging.WARNING if report.not_computed else logging.INFO, "%s", report)


def check_archive(params: Mapping[str, Any], suspects: Sequence[str]) -> None:
    """Compare manifest, folder and tables; raises AirflowFailException with what differs."""
    report = check_integrity(
        antenna_db_conninfo(), Variable.get("antenna_storage"), deep=params["deep"], suspects=suspects
    )
    if report.differences:
        raise AirflowFailException(str(report))
    logger.info("%s", report)


def replay(params: Mapping[str, Any]) -> dict[str, Any]:
    """Take up rejected records; returns how many are accepted and still rejected, and hours with new events.

    Raises AirflowFailException for a param that cannot be, or a sum that would not fit BIGINT.
    """
    try:
        choice = Choice(
            reasons=BROKEN_RULES if params["reason"] is None else (params["reason"],),
            came_from=_instant(params["came_from"]),
            came_before=_instant(params["came_before"]),
        )
        with _session() as session:
            report = replay_rejected(session, choice, Rules(DEFAULT_MAX_FUTURE, _max_lateness()))
    except (ValueError, MaintenanceError) as error:
        raise AirflowFailException(str(error)) from error
    logger.info("%s", report)
    return {
        "accepted": report.accepted.total(),
        "still_rejected": report.still_rejected.total(),
        "hours": [hour.isoformat() for hour in sorted(report.late_hours)],
    }


def _session() -> AbstractContextManager[MaintenanceSession]:
    return MaintenanceSession.open(antenna_db_conninfo(), Variable.get("antenna_storage"))


def _max_lateness() -> int | None:
    text = Variable.get("antenna_max_lateness", default=str(DEFAULT_MAX_LATENESS))
    try:
        return parse_lateness(text)
    except ValueError as error:
        raise AirflowFailException(f"Variable antenna_max_lateness: {error}") from error


def _instant(text: str | None) -> datetime | None:
    return None if text is None else parse_instant(text)
