"""The sealed-hour sensor and its trigger, on a real PostgreSQL."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from antenna_airflow.defaults import POSTGRES_CONNECTION
from antenna_airflow.sensors.hour_sealed import HourSealedSensor
from antenna_airflow.triggers.hour_sealed import HourSealedTrigger
from metering.hours import HOUR, hour_start
from tests.conftest import Database, TestPostgres

# All times are distances from the start of the hour that goes on when a test runs.
NOW = timedelta(minutes=1)
THIS_HOUR = timedelta(0)
LAST_HOUR = -HOUR
LONG_AGO = LAST_HOUR - timedelta(days=2)
PartitionState = tuple[timedelta | None, timedelta | None, int]


def instant(distance: timedelta) -> datetime:
    return hour_start(datetime.now(UTC)) + distance


@pytest.fixture
def partitions(postgres_connection: Database) -> Callable[..., None]:
    """Write the state of two partitions: (newest event, last seen without lag, lag) each."""

    def write(*states: PartitionState) -> None:
        with postgres_connection.connect() as connection:
            connection.execute(
                "INSERT INTO ops.streams "
                "VALUES ('devices', 1, 'running', '', 'host', 1, NULL, now(), now(), now()) "
                "ON CONFLICT DO NOTHING"
            )
            for number, (event_clock, caught_up_at, lag) in enumerate(states):
                connection.execute(
                    "INSERT INTO ops.stream_offsets VALUES ('devices', %s, 10, 10 + %s, "
                    "date_trunc('hour', now()) + %s, date_trunc('hour', now()) + %s) "
                    "ON CONFLICT (topic, partition) DO UPDATE "
                    "SET (log_end_offset, event_clock, caught_up_at) = "
                    "(excluded.log_end_offset, excluded.event_clock, excluded.caught_up_at)",
                    (number, lag, event_clock, caught_up_at),
                )

    return write


def sensor(hour: datetime) -> HourSealedSensor:
    return HourSealedSensor(task_id="wait", hour=hour.isoformat(), poke_interval=0.1, timeout=60)


@pytest.mark.parametrize(
    "states",
    [
        [(LAST_HOUR, None, 0), (LAST_HOUR, None, 5)],
        [(LAST_HOUR, None, 0), (None, NOW, 0)],
        [(LONG_AGO, NOW, 0), (None, NOW, 0)],
    ],
    ids=["consumed past it", "one partition never had a record", "no traffic and no lag"],
)
def test_a_sealed_hour_passes_at_once(partitions: Callable[..., None], states: list[PartitionState]) -> None:
    partitions(*states)
    sensor(instant(LONG_AGO)).execute({})


@pytest.mark.parametrize(
    ("hour", "states", "held_back_by"),
    [
        (LONG_AGO, [], "the stream has not committed anything yet: is antenna_streaming running?"),
        (
            LAST_HOUR,
            [(LAST_HOUR, None, 7), (NOW, None, 0)],
            "partition devices/0 (lag 7 records, newest event",
        ),
        (
            LAST_HOUR,
            [(NOW, NOW, 0), (None, LONG_AGO, 3)],
            "partition devices/1 (lag 3 records, newest event None",
        ),
        (THIS_HOUR, [(NOW, NOW, 0), (NOW, NOW, 0)], "partition devices/0"),
        (THIS_HOUR, [(NOW + HOUR, NOW, 0), (NOW + HOUR, NOW, 0)], "the 120 s of grace after its end"),
    ],
    ids=["no stream", "a lagging partition", "a partition without events", "the hour goes on", "fast clocks"],
)
def test_an_open_hour_is_deferred_and_the_log_says_why(
    partitions: Callable[..., None],
    task_log: Callable[[], str],
    hour: timedelta,
    states: list[PartitionState],
    held_back_by: str,
) -> None:
    partitions(*states)
    start = instant(hour)
    with pytest.raises(TaskDeferred) as deferred:
        sensor(start).execute({})
    assert held_back_by in task_log()
    assert deferred.value.timeout == timedelta(seconds=60)
    assert isinstance(deferred.value.trigger, HourSealedTrigger)
    assert deferred.value.trigger.serialize() == (
        "antenna_airflow.triggers.hour_sealed.HourSealedTrigger",
        {
            "hour": instant(hour).isoformat(),
            "conn_id": POSTGRES_CONNECTION,
            "grace_seconds": 120,
            "poll_seconds": 0.1,
        },
    )


async def first_event(trigger: HourSealedTrigger) -> dict[str, object]:
    return dict((await anext(trigger.run())).payload)


def make_trigger(hour: datetime) -> HourSealedTrigger:
    return HourSealedTrigger(hour.isoformat(), POSTGRES_CONNECTION, grace_seconds=120, poll_seconds=0.1)


def test_the_trigger_fires_when_the_slowest_partition_has_passed_the_hour(
    partitions: Callable[..., None], task_log: Callable[[], str]
) -> None:
    partitions((LONG_AGO, None, 7), (NOW, None, 0))

    async def wait_and_pass() -> object:
        waiting = asyncio.create_task(first_event(make_trigger(instant(LONG_AGO))))
        await asyncio.sleep(0.5)
        assert not waiting.done()
        await asyncio.to_thread(partitions, (NOW, None, 0), (NOW, None, 0))
        return await asyncio.wait_for(waiting, 5)

    assert asyncio.run(wait_and_pass()) == {"sealed": True}
    messages = [line for line in task_log().splitlines() if "held back by" in line]
    assert len(messages) == 1, "once a minute, not at every poll"
    assert "partition devices/0 (lag 7 records" in messages[0]


def test_the_trigger_waits_for_a_database_that_is_away(
    partitions: Callable[..., None], postgres: TestPostgres, task_log: Callable[[], str]
) -> None:
    partitions((NOW, None, 0))

    async def stop_and_start() -> object:
        waiting = asyncio.create_task(first_event(make_trigger(instant(LONG_AGO))))
        await asyncio.sleep(0.5)
        assert not waiting.done()
        await asyncio.to_thread(postgres.start)
        return await asyncio.wait_for(waiting, 20)

    postgres.stop()
    assert asyncio.run(stop_and_start()) == {"sealed": True}
    assert "PostgreSQL, which cannot be asked" in task_log()


def test_without_tables_the_task_fails_with_the_fix(postgres_connection: Database) -> None:
    with postgres_connection.connect() as connection:
        connection.execute("DROP TABLE ops.stream_offsets")
    event = asyncio.run(first_event(make_trigger(instant(LONG_AGO))))
    with pytest.raises(AirflowFailException, match=r"ops\.stream_offsets.*run the DAG provision_schema"):
        sensor(instant(LONG_AGO)).execute_complete({}, event)
