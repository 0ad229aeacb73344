"""Hours and windows: a window is named by its start, in UTC."""

from datetime import UTC, datetime, timedelta

HOUR = timedelta(hours=1)
HOUR_SECONDS = 3600
WINDOW_SECONDS = 300


def hour_start(instant: datetime) -> datetime:
    """The UTC start of the hour that contains ``instant`` (which must carry an offset)."""
    return instant.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def parse_hour(text: object) -> datetime:
    """The UTC start of the hour that contains the instant written in ``text``.

    ``text`` is ISO 8601 with an offset: ``2021-09-26T17:00:00+01:00`` means 16:00-17:00 UTC.

    Raises:
        ValueError: what ``parse_instant`` raises, or outside the years 1 to 9999; names value, rule and fix.
    """
    try:
        return hour_start(parse_instant(text))
    except OverflowError:
        raise ValueError(f"timestamp {text!r} is outside the years 1 to 9999 in UTC") from None


def parse_instant(text: object) -> datetime:
    """The instant written in ``text``, ISO 8601 with an offset.

    Raises:
        ValueError: not text, not a date and time, or without an offset; names value, rule and fix.
    """
    example = "for example 2021-09-26T17:00:00+01:00 or 2021-09-26T16:00:00Z"
    if not isinstance(text, str):
        raise ValueError(f"timestamp {text!r} is not text; give ISO 8601 with an offset, {example}")
    try:
        instant = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(
            f"timestamp {text!r} is not an ISO 8601 date and time; give one with an offset, {example}"
        ) from None
    if instant.tzinfo is None:
        raise ValueError(f"timestamp {text!r} has no offset from UTC; add one, {example}")
    return instant
