"""Totals per window and key."""

import polars as pl
import pytest

from metering.events import INT64_MAX
from metering.totals import TOTALS_SCHEMA, no_totals, sum_totals, totals

EVENTS = pl.DataFrame(
    [
        (0, "d1", "a1", 5, "SKYPE"),
        (299, "d1", "a2", 7, "SKYPE"),
        (300, "d2", "a1", 11, "WHATSAPP"),
        (3600, "d1", "a1", 13, "WHATSAPP"),
    ],
    schema=["event_time", "id", "antenna_id", "bytes", "app"],
    orient="row",
)


def test_five_minute_windows() -> None:
    assert set(totals(EVENTS, 300).iter_rows()) == {
        (0, "antenna_total_bytes", "a1", 5),
        (0, "antenna_total_bytes", "a2", 7),
        (0, "user_total_bytes", "d1", 12),
        (0, "app_total_bytes", "SKYPE", 12),
        (300, "antenna_total_bytes", "a1", 11),
        (300, "user_total_bytes", "d2", 11),
        (300, "app_total_bytes", "WHATSAPP", 11),
        (3600, "antenna_total_bytes", "a1", 13),
        (3600, "user_total_bytes", "d1", 13),
        (3600, "app_total_bytes", "WHATSAPP", 13),
    }


def test_hours() -> None:
    assert set(totals(EVENTS, 3600, {"antenna": "antenna_id"}).iter_rows()) == {
        (0, "antenna", "a1", 16),
        (0, "antenna", "a2", 7),
        (3600, "antenna", "a1", 13),
    }


def test_largest_sum_and_overflow() -> None:
    half = pl.DataFrame([(0, "t", "x", INT64_MAX - 1), (0, "t", "x", 1)], schema=TOTALS_SCHEMA, orient="row")
    assert sum_totals(half).rows() == [(0, "t", "x", INT64_MAX)]
    one_more = pl.concat([half, pl.DataFrame([(0, "t", "x", 1)], schema=TOTALS_SCHEMA, orient="row")])
    with pytest.raises(OverflowError, match=f"sum of bytes {INT64_MAX + 1} for t of 'x' in the window 0"):
        sum_totals(one_more)


def test_no_events() -> None:
    assert sum_totals(no_totals()).is_empty()
    assert totals(EVENTS.clear(), 300).schema == TOTALS_SCHEMA
