"""What happens when a task has failed for good."""

import logging
from collections.abc import Mapping
from typing import Any

logger = logging.getLogger(__name__)

RERUN = "read the task's log above; when the cause is gone, clear the task: it can be run again without harm"


# The stream is replaced at once, and the DAG alerts tells when that does not help. What cannot be told cannot
# be told of either.
NOT_TOLD = ("antenna_streaming", "alerts", "quota_alerts")


def log_failure(context: Mapping[str, Any]) -> None:
    """Log one line that says what failed, for which hour, why, and what to do next; and tell people.

    What to do is the task's own `doc_md` where it has one.
    """
    line = describe_failure(context)
    logger.error(line)
    ti = context["ti"]
    if ti.dag_id in NOT_TOLD:
        return
    # Here, since it needs what DAGs are made of.
    from antenna_airflow.alerts import send

    try:
        send(f"{ti.dag_id}.{ti.task_id} failed", line)
    except Exception:
        logger.exception("Nobody could be told of the failure")


def describe_failure(context: Mapping[str, Any]) -> str:
    """The line that `log_failure` logs; `context` is the task's Airflow context."""
    ti = context["ti"]
    hour = _hour_of_run(context)
    about_hour = f", hour {hour}" if hour else ""
    reason = (str(context.get("exception") or "").strip().splitlines() or ["no reason given"])[0]
    next_step = " ".join((context["task"].doc_md or RERUN).split()).removeprefix("If it fails: ")
    return f"FAILED {ti.dag_id}.{ti.task_id} (run {ti.run_id}{about_hour}): {reason} NEXT: {next_step}"


def _hour_of_run(context: Mapping[str, Any]) -> str | None:
    if "choose_hour" not in context["dag"].task_ids:
        return None
    try:
        hour: str | None = context["ti"].xcom_pull(task_ids="choose_hour")
    except Exception:
        # A worker that was killed is reported by the DAG processor, which cannot read what tasks returned.
        logger.debug("The hour of the run is not known here", exc_info=True)
        return None
    return hour
