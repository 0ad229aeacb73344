"""Hours from ISO timestamps."""

from datetime import UTC, datetime

import pytest

from metering.hours import parse_hour


@pytest.mark.parametrize(
    ("text", "hour"),
    [
        ("2021-09-26T17:00:00+01:00", datetime(2021, 9, 26, 16, tzinfo=UTC)),
        ("2021-09-26T16:59:59.999999Z", datetime(2021, 9, 26, 16, tzinfo=UTC)),
        ("2021-09-26T16:30:00+05:30", datetime(2021, 9, 26, 11, tzinfo=UTC)),
        ("2021-09-26 00:10:00-00:30", datetime(2021, 9, 26, 0, tzinfo=UTC)),
        (" 2021-12-31T23:30:00-01:00 ", datetime(2022, 1, 1, 0, tzinfo=UTC)),
    ],
)
def test_hour_of_instant(text: str, hour: datetime) -> None:
    assert parse_hour(text) == hour


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("2021-09-26T17:00:00", "has no offset from UTC; add one"),
        ("2021-09-26", "has no offset"),
        ("yesterday", "is not an ISO 8601 date and time"),
        ("2021-13-01T00:00:00Z", "is not an ISO 8601 date and time"),
        ("", "is not an ISO 8601 date and time"),
        (1632672000, "1632672000 is not text"),
        (None, "None is not text"),
        ("0001-01-01T00:00:00+10:00", "outside the years"),
    ],
)
def test_bad_timestamps(value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_hour(value)
