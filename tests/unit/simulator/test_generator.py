"""Simulated traffic: deterministic, resumable, with every kind of event in the shares asked for."""

import json
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from include.simulator.broken import BROKEN_LINES, BrokenLine
from include.simulator.generator import (
    Traffic,
    antenna_id,
    device_id,
    generate,
    unknown_device_id,
)
from include.simulator.tally import ACCEPTED, LATE, UNKNOWN_DEVICE, Tally
from metering.events import Limits, RejectedRecordError, decode_record

START = 1_600_605_900
MIXED = Traffic(
    seed=7,
    events_per_second=100,
    broken_share=0.05,
    late_share=0.04,
    unknown_share=0.03,
    future_share=0.02,
    max_late_minutes=30,
)
NEXT_YEARS = Limits(newest=START + 10 * 365 * 86_400, oldest=None)


def test_same_seed_and_seconds_give_the_same_bytes() -> None:
    assert generate(MIXED, START, START + 60) == generate(MIXED, START, START + 60)


def test_the_bytes_are_those_of_every_other_machine() -> None:
    assert generate(Traffic(seed=1, events_per_second=2), START, START + 1).lines == [
        b'{"bytes":1697,"timestamp":1600605900,"app":"FACEBOOK","id":"00000000-0000-0000-0000-000000000001",'
        b'"antenna_id":"44444444-4444-4444-4444-444444444444"}',
        b'{"bytes":4107,"timestamp":1600605900,"app":"WHATSAPP","id":"00000000-0000-0000-0000-000000000010",'
        b'"antenna_id":"00000000-0000-0000-0000-000000000000"}',
    ]


def test_other_seed_gives_other_events() -> None:
    other = Traffic(seed=8, events_per_second=100)
    assert generate(Traffic(seed=7), START, START + 1).lines != generate(other, START, START + 1).lines


@pytest.mark.parametrize("rate", [0.3, 7, 1234.567])
def test_any_cut_of_the_seconds_gives_the_same_events(rate: float) -> None:
    traffic = Traffic(seed=3, events_per_second=rate, broken_share=0.1, late_share=0.1)
    whole = generate(traffic, START, START + 90)
    cuts = [START, START + 1, START + 2, START + 59, START + 90]
    parts = [generate(traffic, low, high) for low, high in pairwise(cuts)]
    assert [line for part in parts for line in part.lines] == whole.lines
    totals: Counter[object] = Counter()
    for part in parts:
        totals.update(part.tally.totals)
    assert totals == whole.tally.totals
    assert len(whole.lines) == traffic.count(START, START + 90) == pytest.approx(rate * 90, abs=1)


def test_lines_are_compact_json_in_the_order_of_the_original() -> None:
    block = generate(Traffic(seed=1, events_per_second=10), START, START + 1)
    for line in block.lines:
        assert line is not None
        event = json.loads(line)
        assert list(event) == ["bytes", "timestamp", "app", "id", "antenna_id"]
        assert json.dumps(event, separators=(",", ":")).encode() == line
        assert event["timestamp"] == START


def test_every_app_antenna_and_device_is_really_sent_with_bytes_from_0_to_9999() -> None:
    events = _events(generate(Traffic(seed=1, events_per_second=1000), START, START + 120).lines)
    assert {event["app"] for event in events} == {"SKYPE", "TELEGRAM", "FACETIME", "FACEBOOK", "WHATSAPP"}
    assert {event["antenna_id"] for event in events} == {
        "00000000-0000-0000-0000-000000000000",
        "11111111-1111-1111-1111-111111111111",
        "22222222-2222-2222-2222-222222222222",
        "33333333-3333-3333-3333-333333333333",
        "44444444-4444-4444-4444-444444444444",
    }
    assert {event["id"] for event in events} == {
        f"00000000-0000-0000-0000-0000000000{number:02d}" for number in range(1, 21)
    }
    assert min(event["bytes"] for event in events) == 0
    assert max(event["bytes"] for event in events) == 9999
    for field, kinds in (("app", 5), ("id", 20)):
        counts = Counter(event[field] for event in events)
        assert min(counts.values()) > 0.8 * len(events) / kinds


def test_a_device_stays_with_an_antenna_for_a_minute_and_moves_on() -> None:
    events = _events(generate(Traffic(seed=2, events_per_second=200), START, START + 600).lines)
    places: dict[tuple[str, int], set[str]] = {}
    for event in events:
        places.setdefault((event["id"], event["timestamp"] // 60), set()).add(event["antenna_id"])
    assert all(len(antennas) == 1 for antennas in places.values())
    for number in range(1, 21):
        visited = {
            antennas.copy().pop() for (device, _), antennas in places.items() if device == device_id(number)
        }
        assert len(visited) > 1


def test_shares_are_as_asked_for() -> None:
    verdicts = generate(MIXED, START, START + 1000).tally.verdicts
    events = verdicts.total()
    assert events == 100_000
    assert verdicts[LATE] / events == pytest.approx(0.04, rel=0.1)
    assert verdicts[UNKNOWN_DEVICE] / events == pytest.approx(0.03, rel=0.1)
    assert verdicts["in_the_future"] / events == pytest.approx(0.02, rel=0.1)
    assert verdicts[ACCEPTED] / events == pytest.approx(0.86, rel=0.1)
    broken = Counter(line.reason for line in BROKEN_LINES)
    assert sum(verdicts[reason] for reason in broken) / events == pytest.approx(0.05, rel=0.1)
    for reason, lines in broken.items():
        assert verdicts[reason] / events == pytest.approx(0.05 * lines / len(BROKEN_LINES), rel=0.35)


def test_the_tally_is_what_the_stream_makes_of_the_lines() -> None:
    block = generate(MIXED, START, START + 300)
    expected = Tally()
    known = {device_id(number) for number in range(1, 21)}
    rejected = {}
    for position, line in enumerate(block.lines):
        try:
            event = decode_record(line, NEXT_YEARS)
        except RejectedRecordError as rejection:
            expected.verdicts[rejection.reason] += 1
            rejected[position] = rejection.reason
            continue
        expected.add(
            event_time=event.event_time,
            device=event.id,
            antenna=event.antenna_id,
            app=event.app,
            size=event.bytes,
        )
        if event.id not in known:
            assert event.id in {unknown_device_id(number) for number in range(1, 6)}
    assert block.rejected == rejected
    assert block.tally.totals == expected.totals
    assert block.tally.accepted == expected.accepted
    for reason in expected.verdicts.keys() - {ACCEPTED}:
        assert block.tally.verdicts[reason] == expected.verdicts[reason]


def test_late_events_lie_at_most_max_late_minutes_before_the_clock() -> None:
    traffic = Traffic(seed=4, events_per_second=1000, late_share=1, max_late_minutes=10)
    events = _events(generate(traffic, START, START + 1).lines)
    delays = [START - event["timestamp"] for event in events]
    assert 1 <= min(delays) < 30
    assert 570 < max(delays) <= 600


@pytest.mark.parametrize("broken", BROKEN_LINES, ids=lambda broken: repr(broken.template))
def test_every_broken_record_is_rejected_for_its_reason(broken: BrokenLine) -> None:
    for size in (0, 9999):
        line = broken.line(
            size=size,
            event_time=START,
            app=b"SKYPE",
            device=device_id(1).encode(),
            antenna=antenna_id(0).encode(),
        )
        with pytest.raises(RejectedRecordError) as rejection:
            decode_record(line, NEXT_YEARS)
        assert rejection.value.reason == broken.reason


def test_many_devices_and_antennas_have_different_ids() -> None:
    assert len({antenna_id(number) for number in range(2000)}) == 2000
    assert antenna_id(10) == "00000010-0000-0000-0000-000000000000"
    assert device_id(123_456) == "00000000-0000-0000-0000-000000123456"
    traffic = Traffic(seed=5, devices=1_000_000, antennas=1000, events_per_second=20_000)
    events = _events(generate(traffic, START, START + 1).lines)
    assert len({event["id"] for event in events}) > 19_000
    assert len({event["antenna_id"] for event in events}) == 1000


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"devices": 0}, "devices 0 must be a whole number from 1"),
        ({"antennas": 1_000_001}, "antennas 1000001 must be"),
        ({"seed": -1}, "seed -1 must be"),
        ({"events_per_second": 0}, "events_per_second 0 must be"),
        ({"events_per_second": float("nan")}, "events_per_second nan must be"),
        ({"late_share": 1.5}, "late_share 1.5 must be 0 to 1"),
        ({"late_share": 0.6, "broken_share": 0.6}, "= 1.2 must be 1 at most"),
        ({"max_late_minutes": 0}, "max_late_minutes 0 must be"),
    ],
)
def test_bad_values_are_named(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Traffic(**values)  # type: ignore[arg-type]


def _events(lines: list[bytes | None]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines if line is not None]
