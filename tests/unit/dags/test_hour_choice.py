"""Which hour a run of antenna_batch computes."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from antenna_airflow.hour_choice import choose_hour

NOW = datetime(2026, 11, 24, 12, 34, tzinfo=UTC)
SEALED_BEFORE = datetime(2026, 11, 24, 11, tzinfo=UTC)
INTERVAL_START = datetime(2026, 11, 24, 11, tzinfo=UTC)


def choose(
    config: dict[str, object] | None = None,
    *,
    follows_schedule: bool = False,
    interval_start: datetime | None = None,
    sealed_before: datetime | None = SEALED_BEFORE,
) -> str:
    return choose_hour(
        config=config or {},
        follows_schedule=follows_schedule,
        interval_start=interval_start,
        read_sealed_before=lambda: sealed_before,
        now=NOW,
    ).isoformat()


@pytest.mark.parametrize(
    ("timestamp", "hour"),
    [
        ("2021-09-26T17:00:00+01:00", "2021-09-26T16:00:00+00:00"),
        ("2021-09-26T16:59:59Z", "2021-09-26T16:00:00+00:00"),
        ("2021-09-26T05:44:00+05:45", "2021-09-25T23:00:00+00:00"),
        ("2026-11-24T12:00:00Z", "2026-11-24T12:00:00+00:00"),
    ],
)
@pytest.mark.parametrize("follows_schedule", [True, False])
def test_the_config_comes_first(timestamp: object, hour: str, follows_schedule: bool) -> None:
    assert (
        choose({"timestamp": timestamp}, follows_schedule=follows_schedule, interval_start=INTERVAL_START)
        == hour
    )


def test_a_scheduled_run_computes_its_interval_even_if_that_is_not_sealed() -> None:
    chosen = choose(
        {"timestamp": None}, follows_schedule=True, interval_start=INTERVAL_START, sealed_before=None
    )
    assert chosen == "2026-11-24T11:00:00+00:00"


def test_a_run_by_hand_without_a_logical_date_computes_the_last_sealed_hour() -> None:
    assert choose() == "2026-11-24T10:00:00+00:00"


def test_a_run_by_hand_takes_the_earlier_of_interval_and_last_sealed_hour() -> None:
    assert choose(interval_start=INTERVAL_START) == "2026-11-24T10:00:00+00:00"
    assert choose(interval_start=INTERVAL_START - timedelta(hours=5)) == "2026-11-24T06:00:00+00:00"


def test_the_session_s_time_zone_does_not_matter() -> None:
    india = timezone(timedelta(hours=5, minutes=30))
    assert choose(sealed_before=SEALED_BEFORE.astimezone(india)) == "2026-11-24T10:00:00+00:00"


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"timestamp": "2021-09-26T17:00:00"}, "timestamp '2021-09-26T17:00:00' has no offset from UTC"),
        ({"timestamp": "yesterday"}, "timestamp 'yesterday' is not an ISO 8601 date"),
        ({"timestamp": 1632672000}, "timestamp 1632672000 is not text"),
        ({"timestamp": ""}, "timestamp '' is not an ISO 8601 date"),
        ({"timestmap": "2021-09-26T17:00:00Z"}, 'unknown key timestmap; it may only be {"timestamp": '),
        ({"timestamp": "2026-11-24T13:00:00Z"}, "the hour 2026-11-24T13:00:00.00:00 has not begun"),
    ],
)
def test_bad_configs_are_refused_with_the_rule(config: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        choose(config)


def test_nothing_sealed_yet_names_both_ways_out() -> None:
    with pytest.raises(ValueError, match=r"no hour is sealed yet.*start antenna_streaming, or name an hour"):
        choose(sealed_before=None)


def test_the_database_is_asked_only_when_needed() -> None:
    def never() -> None:
        raise AssertionError

    hour = choose_hour(
        config={"timestamp": "2021-09-26T16:00:00Z"},
        follows_schedule=False,
        interval_start=None,
        read_sealed_before=never,
        now=NOW,
    )
    assert hour == datetime(2021, 9, 26, 16, tzinfo=UTC)
