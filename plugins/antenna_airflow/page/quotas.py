"""Users and their quotas: in one hour, and one user over time."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from antenna_airflow.page.database import fetch, fetch_models, reading
from antenna_airflow.page.models import Quotas, QuotaState, UserHistory, UserHour, UserQuota
from antenna_airflow.page.ranges import Instant
from metering.hours import HOUR, hour_start

router = APIRouter()

# From this share of the quota on, a user is near it.
NEAR_PERCENT = 80


@router.get("/data/quotas")
def quotas(
    hour: Instant | None = None,
    search: Annotated[str, Query(max_length=200)] = "",
    state: QuotaState | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 25,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> Quotas:
    """The users of the hour that contains `hour`, or of this hour so far."""
    open_hour = hour_start(datetime.now(UTC))
    chosen = open_hour if hour is None else hour_start(hour)
    so_far = chosen >= open_hour
    name = "quotas_so_far" if so_far else "quotas_of_hour"
    asked = {"hour": chosen, "near_percent": NEAR_PERCENT, "limit": limit, "offset": offset}
    with reading() as connection:
        users = fetch(connection, name, **asked, search=search, state=state)
        # Each row carries the counts of the hour; where nobody fits, anybody's does.
        counted = users or fetch(
            connection, name, **{**asked, "limit": 1, "offset": 0}, search="", state=None
        )
    counts = counted[0] if counted else {"passed": 0, "near": 0}
    return Quotas(
        hour=chosen,
        so_far=so_far,
        passed=counts["passed"],
        near=counts["near"],
        found=users[0]["found"] if users else 0,
        users=[UserQuota.model_validate(user) for user in users],
    )


@router.get("/data/quotas/user")
def user_history(
    email: Annotated[str, Query(min_length=1, max_length=320)],
    hours: Annotated[int, Query(ge=1, le=744)] = 168,
) -> UserHistory:
    """One user, hour by hour, over the last `hours` that have ended."""
    last = hour_start(datetime.now(UTC)) - HOUR
    first = last - timedelta(hours=hours - 1)
    with reading() as connection:
        today = fetch(connection, "quota_of_user", email=email)
        past = fetch_models(connection, "quota_history", UserHour, email=email, first=first, last=last)
    return UserHistory(email=email, quota=today[0]["quota"] if today else None, hours=past)
