"""The event rules of the contract, and that both ways through them agree."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from metering.events import (
    INT64_MAX,
    Limits,
    RejectedRecordError,
    decode_record,
    decode_records,
)
from metering.reasons import REASONS

NOW = 1_600_606_000
OLDEST = NOW - 7 * 86400
LIMITS = Limits(newest=NOW + 600, oldest=OLDEST)
GOOD: dict[str, Any] = {
    "bytes": 12,
    "timestamp": NOW,
    "app": "SKYPE",
    "id": "device-1",
    "antenna_id": "antenna-1",
}


def changed(**fields: Any) -> bytes:
    return json.dumps({**GOOD, **fields}).encode()


def without(*names: str) -> bytes:
    return json.dumps({name: value for name, value in GOOD.items() if name not in names}).encode()


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (None, "not_json"),
        (b"", "not_json"),
        (b"   ", "not_json"),
        (b"\x00", "not_json"),
        (changed()[:-1], "not_json"),
        (changed() + changed(), "not_json"),
        (changed() + b" " + changed(), "not_json"),
        (changed() + b"\x00", "not_json"),
        (b"\xef\xbb\xbf" + changed(), "not_json"),
        (changed(extra="x").replace(b'"x"', b'"\xff"'), "not_json"),
        (changed(bytes=7).replace(b"7", b"07"), "not_json"),
        (changed(bytes=7).replace(b"7", b"NaN"), "not_json"),
        (b'{"deep": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "not_json"),
        (b"[]", "not_an_object"),
        (b'"text"', "not_an_object"),
        (b"12", "not_an_object"),
        (b"null", "not_an_object"),
        *[(without(name), "missing_field") for name in GOOD],
        *[(changed(**{name: None}), "null_field") for name in GOOD],
        (without("timestamp", "app"), "missing_field"),
        (without("timestamp")[:-1] + b', "timestmap": null}', "null_field"),
        *[(changed(**{name: 5}), "wrong_type") for name in ("id", "antenna_id", "app")],
        *[(changed(**{name: "12"}), "wrong_type") for name in ("bytes", "timestamp")],
        *[(changed(**{name: True}), "wrong_type") for name in GOOD],
        *[(changed(**{name: 1.5}), "wrong_type") for name in GOOD],
        (changed(bytes=1.0), "wrong_type"),
        (changed(bytes=[1]), "wrong_type"),
        (changed(timestmap="now"), "wrong_type"),
        (b'{"bytes": "1", ' + changed()[1:], "wrong_type"),
        (changed(bytes=-1), "negative"),
        (changed(timestamp=-1), "negative"),
        (changed(bytes=INT64_MAX + 1), "out_of_range"),
        (changed(bytes=10**40), "out_of_range"),
        (changed(timestamp=2**63), "out_of_range"),
        *[(changed(**{name: ""}), "empty_field") for name in ("id", "antenna_id", "app")],
        *[(changed(**{name: "a\0b"}), "nul_character") for name in ("id", "antenna_id", "app")],
        *[(changed(**{name: "x" * 2001}), "too_long") for name in ("id", "antenna_id", "app")],
        (changed(id="x" * 1999 + "é"), "too_long"),
        (changed(timestamp=LIMITS.newest + 1), "in_the_future"),
        (changed(timestamp=OLDEST - 1), "too_late"),
        (changed(timestamp=NOW * 1000), "in_the_future"),
    ],
)
def test_rejected(record: bytes | None, reason: str) -> None:
    with pytest.raises(RejectedRecordError) as caught:
        decode_record(record, LIMITS)
    assert caught.value.reason == reason
    assert reason in REASONS
    assert caught.value.detail
    accepted, rejected = decode_records([changed(), record, changed()], LIMITS)
    assert accepted["position"].to_list() == [0, 2]
    assert rejected.rows() == [(1, reason, caught.value.detail)]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (changed(), (NOW, 12)),
        (changed(bytes=0), (NOW, 0)),
        (changed(bytes=INT64_MAX), (NOW, INT64_MAX)),
        (changed(timestamp=LIMITS.newest), (LIMITS.newest, 12)),
        (changed(timestamp=OLDEST), (OLDEST, 12)),
        (changed(unknown={"nested": [1, None]}), (NOW, 12)),
        (without("timestamp")[:-1] + f', "timestmap": {NOW - 5}}}'.encode(), (NOW - 5, 12)),
        (changed(timestmap=NOW - 5), (NOW, 12)),
        (b"\n " + changed().replace(b", ", b",\r\n\t") + b" ", (NOW, 12)),
    ],
)
def test_accepted(record: bytes, expected: tuple[int, int]) -> None:
    event = decode_record(record, LIMITS)
    assert (event.event_time, event.bytes) == expected
    accepted, rejected = decode_records([record], LIMITS)
    assert accepted.rows() == [(0, expected[0], "device-1", "antenna-1", expected[1], "SKYPE")]
    assert rejected.is_empty()


def test_unlimited_lateness() -> None:
    assert decode_record(changed(timestamp=0), Limits(newest=NOW, oldest=None)).event_time == 0


def test_no_records() -> None:
    accepted, rejected = decode_records([], LIMITS)
    assert accepted.is_empty()
    assert rejected.is_empty()


_numbers = st.one_of(
    st.integers(-2, 2),
    st.sampled_from([NOW, LIMITS.newest, LIMITS.newest + 1, INT64_MAX, INT64_MAX + 1, 2**64, 10**30]),
    st.floats(),
)
_values = st.one_of(
    _numbers,
    st.booleans(),
    st.none(),
    st.text(max_size=3),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.none(), max_size=2),
)
_names = st.sampled_from([*GOOD, "timestmap", "extra", "bytes "])
_objects = st.dictionaries(_names, _values, max_size=3).map(lambda fields: changed(**fields))
_mutations = st.tuples(_objects, st.integers(0, 120), st.binary(max_size=3)).map(
    lambda parts: parts[0][: parts[1]] + parts[2] + parts[0][parts[1] :]
)
_records = st.one_of(st.just(changed()), _objects, _mutations, st.binary(max_size=20), st.none())


@settings(max_examples=600, deadline=None)
@given(st.lists(_records, max_size=6))
@example([changed() + changed(), b" ", changed()])
@example([b'{"id": "a', b'b", "antenna_id": "x", "app": "y", "bytes": 1, "timestamp": 1}', changed()])
@example([changed(extra="x").replace(b'"x"', b'"\xc3"'), b'"\xa9"'])
def test_both_ways_agree(records: list[bytes | None]) -> None:
    accepted, rejected = decode_records(records, LIMITS)
    found: dict[int, object] = {row[0]: row[1:] for row in accepted.iter_rows()}
    assert len(found) == accepted.height
    for position, reason, detail in rejected.iter_rows():
        assert position not in found
        found[position] = (reason, detail)
    expected: dict[int, object] = {}
    for position, record in enumerate(records):
        try:
            event = decode_record(record, LIMITS)
            expected[position] = (event.event_time, event.id, event.antenna_id, event.bytes, event.app)
        except RejectedRecordError as error:
            expected[position] = (error.reason, error.detail)
    assert found == expected
