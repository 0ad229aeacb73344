"""Ranges of time in queries: typed, with an offset from UTC, and bounded."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import HTTPException
from pydantic import AfterValidator, AwareDatetime

OLDEST = datetime(2000, 1, 1, tzinfo=UTC)
NEWEST = datetime(2100, 1, 1, tzinfo=UTC)


def _in_this_century(instant: datetime) -> datetime:
    if not OLDEST <= instant < NEWEST:
        raise ValueError("must lie between the years 2000 and 2100")
    return instant.astimezone(UTC)


Instant = Annotated[AwareDatetime, AfterValidator(_in_this_century)]


def floor(instant: datetime, step: timedelta) -> datetime:
    """The latest whole `step` since 2000, in UTC, not after `instant`."""
    return instant - (instant - OLDEST) % step


def check_range(start: datetime, end: datetime, longest: timedelta, hint: str = "") -> None:
    """Raise HTTPException (422) unless `start` < `end` <= `start` + `longest`."""
    if start >= end:
        raise HTTPException(422, f"start {start.isoformat()} must be before end {end.isoformat()}")
    if end - start > longest:
        raise HTTPException(422, f"the range is longer than {longest.days} days; choose a shorter one{hint}")
