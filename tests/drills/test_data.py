"""Drills on the data: whatever is sent, each record is counted once or rejected with its reason."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from include.simulator.broken import BROKEN_LINES
from include.simulator.generator import Traffic
from metering.events import INT64_MAX, MAX_TEXT_BYTES
from metering.reasons import BROKEN_RULES

from .events import event
from .results import Trial
from .rig import PARTITIONS, YEAR_SECONDS, Rig, mixed_traffic
from .system import Record

pytestmark = pytest.mark.in_turns(3)
MEGABYTE = 1024 * 1024
BEHIND = "SELECT count(*) FROM ops.stream_offsets WHERE topic = %s AND caught_up_at < to_timestamp(%s)"


def test_every_reason_for_rejection(rig: Rig, trial: Trial, luck: Random) -> None:
    """Every broken form of the simulator, and the limits of event time, text and numbers from both sides."""
    now = int(time.time())
    records: list[Record] = [
        (broken.line(size=5, event_time=now, app=b"SKYPE", device=b"d", antenna=b"a"), broken.reason)
        for broken in BROKEN_LINES
    ]
    long = "x" * MAX_TEXT_BYTES
    records += [
        (event(now - YEAR_SECONDS - 3600), "too_late"),
        (event(now + 7200), "in_the_future"),
        (event(id=f'"{long}x"'), "too_long"),
        (event(id=f'"{long[:-1]}é"'), "too_long"),
        (event(id=f'"{long}"'), None),
        (event(id='"tab\\tquote\\"backslash\\\\newline\\n"', app='"a,b;\'"'), None),
        (event(bytes=0, antenna_id='"é日本😀"'), None),
        (event(now + 300), None),
        (event().replace(b"timestamp", b"timestmap"), None),
        (event(extra='{"nested":[1,2,{"id":null}]}'), None),
    ]
    luck.shuffle(records)
    assert {reason for _, reason in records if reason} == set(BROKEN_RULES)
    for partition in range(PARTITIONS):
        rig.send(records[partition::PARTITIONS], partition)
    trial.recover(time.time())
    trial.check()


def test_nothing_but_broken_records(rig: Rig, trial: Trial, luck: Random) -> None:
    """Micro-batches without one event: offsets advance, and every record is kept with its reason."""
    rig.stop_traffic()
    before = rig.committed_offsets()
    rig.start_traffic(Traffic(seed=luck.randrange(2**32), broken_share=1))
    rig.wait(
        lambda: all(rig.committed_offsets()[p] > before[p] for p in before), 30, "all partitions advance"
    )
    trial.recover(time.time())
    trial.check()


def test_message_of_10_mb(rig: Rig, trial: Trial, luck: Random) -> None:
    """One as an event with a huge ignored field, and one that is broken."""
    padding = "x" * (10 * MEGABYTE)
    partition = luck.randrange(PARTITIONS)
    trial.choose(partition=partition)
    rig.send([(event(padding=f'"{padding}"'), None), (padding.encode(), "not_json")], partition)
    trial.recover(time.time())
    trial.check()


def test_nul_bytes(rig: Rig, trial: Trial, luck: Random) -> None:
    """U+0000 in a name, which no table can hold, is rejected; in an ignored field it is ignored."""
    records: list[Record] = [
        (event(id='"a\\u0000b"'), "nul_character"),
        (event(app='"\\u0000"'), "nul_character"),
        (event(antenna_id='"\\u0000antenna"'), "nul_character"),
        (event(id='"a\0b"'), "not_json"),
        (b"\0" * luck.randint(1, 100), "not_json"),
        (event() + b"\0", "not_json"),
        (event(ignored='"\\u0000"'), None),
    ]
    luck.shuffle(records)
    rig.send(records, luck.randrange(PARTITIONS))
    trial.recover(time.time())
    trial.check()


def test_sum_beyond_bigint(rig: Rig, trial: Trial, luck: Random) -> None:
    """The largest BIGINT is counted; one byte more stops the stream loudly until the record is refused.

    In a window of the past, so that no other event falls into it.
    """
    rig.stop_traffic()
    rig.wait_until_consumed()
    window = int(time.time()) - luck.randint(10, 300) * 86_400
    partition = luck.randrange(PARTITIONS)
    names = {"id": '"whale"', "antenna_id": '"sea"', "app": '"KRILL"'}
    rig.send([(event(window, bytes=INT64_MAX, **names), None)], partition)
    rig.wait_until_consumed()
    before = rig.query("SELECT * FROM bytes ORDER BY timestamp, type, id")
    together = luck.choice((True, False))
    values = [INT64_MAX - 1, INT64_MAX - 2] if together else [1]
    trial.choose(window=window, values=values)
    offset = rig.end_offsets()[partition]
    driver = rig.driver
    rig.send([(event(window, bytes=value, **names), "refused") for value in values], partition)
    assert driver.wait(60) == 1
    (line,) = [line for line in driver.log.splitlines() if line.startswith("antenna_streaming_job.py: ")]
    assert "greater than 9223372036854775807, the largest BIGINT" in line
    assert f"partition {partition} at offset {offset}" in line
    assert "--refuse-offsets" in line
    assert rig.committed_offsets()[partition] == offset
    assert rig.query("SELECT * FROM bytes ORDER BY timestamp, type, id") == before
    with rig.no_driver():
        rig.extra_arguments = ["--refuse-offsets", f"{partition}:{offset}-{offset + len(values) - 1}"]
    mended = time.time()
    rig.start_traffic(mixed_traffic(luck))
    trial.recover(mended)
    trial.check()


def test_events_months_late(rig: Rig, trial: Trial, luck: Random) -> None:
    """They count in their own windows and hours."""
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    starts = [now - timedelta(days=luck.uniform(30, 300)) for _ in range(2)]
    trial.choose(starts=[start.isoformat() for start in starts])
    for start in starts:
        rig.send_past(Traffic(seed=luck.randrange(2**32), unknown_share=0.2), start, luck.uniform(0.5, 3))
    trial.recover(time.time())
    trial.check()


def test_clock_jumps(rig: Rig, trial: Trial, luck: Random) -> None:
    """The driver's wall clock jumps ahead by days, and back by minutes, which no hour may be sealed by.

    Back by more than --max-future (10 minutes) its events would be rejected as future ones.
    """
    jumps = [luck.uniform(3600, 5 * 86_400), -luck.uniform(60, 540)]
    luck.shuffle(jumps)
    trial.choose(jumps=jumps)
    try:
        for jump in jumps:
            rig.driver.shift_clock(jump)
            trial.recover(time.time())
            time.sleep(2.5)  # a heartbeat
            ((ahead,),) = rig.query("SELECT max(caught_up_at) > now() FROM ops.stream_offsets")
            assert not ahead, "a partition counts as consumed in the future"
    finally:
        rig.driver.shift_clock(0)
    trial.check()


@pytest.mark.parametrize("idle", ["partition", "topic"])
def test_idle(rig: Rig, trial: Trial, luck: Random, idle: str) -> None:
    """What brings nothing holds no hour back: it counts as consumed up to now."""
    rig.stop_traffic()
    rig.wait_until_consumed()
    driver, started = rig.driver, time.time()
    silent = luck.uniform(4, 8)
    trial.choose(seconds=silent)
    while time.time() < started + silent:
        if idle == "partition":
            for partition in range(1, PARTITIONS):
                rig.send([(event(), None)], partition)
        time.sleep(0.5)
    rig.wait_until_consumed()
    consumed_at = time.time()
    rig.wait(_none_behind(rig, consumed_at - 1), 15, "every partition counts as consumed until now")
    assert rig.driver is driver
    assert driver.exit_code is None
    rig.start_traffic(mixed_traffic(luck))
    trial.recover(time.time())
    trial.check()


def _none_behind(rig: Rig, instant: float) -> Callable[[], bool]:
    return lambda: rig.query(BEHIND, rig.topic, instant) == [(0,)]
