"""The last hours: sealed, computed, late."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, NamedTuple

from fastapi import APIRouter, Query

from antenna_airflow.defaults import SEAL_GRACE_SECONDS
from antenna_airflow.page.database import fetch, fetch_shared, reading
from antenna_airflow.page.models import Hour, Hours
from antenna_airflow.page.security import MayRecompute
from include.local_stack.health import judge_hour
from metering.hours import hour_start

router = APIRouter()


class _Sealed(NamedTuple):
    """The row of sealed_before.sql."""

    sealed_before: datetime | None


@router.get("/data/hours")
def hours(recompute: MayRecompute, hours: Annotated[int, Query(ge=1, le=168)] = 48) -> Hours:
    """The hour that is open, and those before it; `hours` in all."""
    last = hour_start(datetime.now(UTC))
    first = last - timedelta(hours=hours - 1)
    with reading() as connection:
        sealed = fetch_shared(connection, "sealed_before", _Sealed, {"grace_seconds": SEAL_GRACE_SECONDS})
        rows = fetch(connection, "hours", first=first, last=last)
    sealed_before = sealed.sealed_before if sealed else None
    return Hours(
        sealed_before=sealed_before,
        hours=[
            Hour(
                **row,
                state=judge_hour(
                    row["hour"],
                    sealed_before,
                    computed=row["computed_at"] is not None,
                    late=row["late_events"] > 0,
                ),
            )
            for row in rows
        ],
        may_recompute=recompute,
    )
