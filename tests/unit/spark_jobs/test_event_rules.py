"""Both ways of decoding against an independent statement of the event rules, on generated records.

The model is written from the contract alone: strict JSON in UTF-8, and for each field its type and range.
Where a record breaks several rules, the contract does not say which one is named, so any of them will do.
"""

import json
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from metering.events import Limits, RejectedRecordError, decode_record, decode_records

NOW = 1_764_000_000
LIMITS = Limits(newest=NOW + 600, oldest=NOW - 604_800)
LARGEST = 9_223_372_036_854_775_807
TIMES = ("timestamp", "timestmap")

# event time, id, antenna_id, bytes, app
Accepted = tuple[int, str, str, int, str]


class _NotJsonError(Exception):
    """No JSON text by RFC 8259 in UTF-8."""


class _UnspecifiedError(Exception):
    """A name that is given twice: the contract says nothing about it."""


def model(record: bytes | None) -> Accepted | set[str]:
    """What the contract says of a record: the event, or every reason for which it may be rejected."""
    try:
        value = _parse(record)
    except _NotJsonError:
        return {"not_json"}
    if not isinstance(value, dict):
        return {"not_an_object"}
    reasons = set().union(*(_text_reasons(value, name) for name in ("id", "antenna_id", "app")))
    reasons |= _number_reasons(value, "bytes")
    given_times = [name for name in TIMES if name in value]
    for name in given_times:
        reasons |= _number_reasons(value, name)
    if not given_times:
        reasons.add("missing_field")
    if given_times and not _number_reasons(value, given_times[0]):
        time = value[given_times[0]]
        reasons |= {"in_the_future"} if time > NOW + 600 else set()
        reasons |= {"too_late"} if time < NOW - 604_800 else set()
    if reasons:
        return reasons
    return value[given_times[0]], value["id"], value["antenna_id"], value["bytes"], value["app"]


def _parse(record: bytes | None) -> Any:
    def refuse(_constant: str) -> None:
        raise _NotJsonError

    def fraction(text: str) -> float:
        number = float(text)
        if number in (float("inf"), float("-inf")):
            # Beyond what a double holds: parsers may refuse it, or not, as they like.
            raise _UnspecifiedError
        return number

    def pairs(members: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(members)) < len(members):
            raise _UnspecifiedError
        return dict(members)

    if record is None:
        raise _NotJsonError
    try:
        value = json.loads(
            record.decode("utf-8"), parse_constant=refuse, parse_float=fraction, object_pairs_hook=pairs
        )
        # A lone half of a surrogate pair is no character.
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except ValueError:
        raise _NotJsonError from None
    return value


def _text_reasons(value: dict[str, Any], name: str) -> set[str]:
    if name not in value:
        return {"missing_field"}
    text = value[name]
    if text is None:
        return {"null_field"}
    if not isinstance(text, str):
        return {"wrong_type"}
    if text == "":
        return {"empty_field"}
    return {"nul_character"} if "\0" in text else set()


def _number_reasons(value: dict[str, Any], name: str) -> set[str]:
    if name not in value:
        return {"missing_field"}
    number = value[name]
    if number is None:
        return {"null_field"}
    if isinstance(number, bool) or not isinstance(number, int):
        return {"wrong_type"}
    if number < 0:
        return {"negative"}
    return {"out_of_range"} if number > LARGEST else set()


_sizes = st.sampled_from([0, 1, LARGEST, LARGEST + 1, 2**64, 10**30, -1, -LARGEST - 1])
_instants = st.sampled_from(
    [LIMITS.newest, LIMITS.newest + 1, NOW - 604_800, NOW - 604_801, 0, -1, NOW * 1000, LARGEST, LARGEST + 1]
)
_texts = st.sampled_from(["", "a", "12", "a\0b", "\0", "😀", "\u2028", '"', "\\"])
_anything = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        _sizes,
        st.floats(allow_nan=False, allow_infinity=False),
        st.sampled_from([1.0, -0.0, 1e22]),
        st.text(max_size=4),
        _texts,
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)
_names = st.text(min_size=1, max_size=12).filter(lambda text: "\0" not in text)
_time_defects = st.one_of(_instants, _anything)
_text_defects = st.one_of(_texts, _anything)
_DEFECTS = {
    "timestamp": _time_defects,
    "timestmap": _time_defects,
    "bytes": st.one_of(_sizes, _anything),
    "id": _text_defects,
    "antenna_id": _text_defects,
    "app": _text_defects,
}


@st.composite
def _good_events(draw: st.DrawFn) -> dict[str, Any]:
    return {
        draw(st.sampled_from(TIMES)): draw(st.integers(NOW - 604_800, NOW + 600)),
        "id": draw(_names),
        "antenna_id": draw(_names),
        "bytes": draw(st.one_of(st.integers(0, LARGEST), st.integers(0, 10_000))),
        "app": draw(_names),
    }


@st.composite
def _nearly_events(draw: st.DrawFn) -> bytes:
    """An event as JSON, of which a field or two may be unusual, left out or added, in any notation."""
    event = draw(_good_events())
    for name in draw(st.lists(st.sampled_from(sorted(_DEFECTS)), max_size=2)):
        event[name] = draw(_DEFECTS[name])
    if draw(st.integers(0, 9)) == 9:
        del event[draw(st.sampled_from(sorted(event)))]
    if draw(st.booleans()):
        event[draw(st.text(max_size=4).filter(lambda name: name not in event))] = draw(_anything)
    text = json.dumps(
        dict(draw(st.permutations(list(event.items())))),
        ensure_ascii=draw(st.booleans()),
        indent=draw(st.sampled_from([None, 0])),
        separators=draw(st.sampled_from([None, (",", ":"), (" ,\t", " : ")])),
    )
    around = st.sampled_from(["", " ", "\n", "\r\t"])
    return f"{draw(around)}{text}{draw(around)}".encode("utf-8", "surrogatepass")


@st.composite
def _damaged(draw: st.DrawFn) -> bytes:
    """An event with a few bytes cut, replaced or put in, often inside of a text."""
    record = draw(_nearly_events())
    quotes = [place + 1 for place, byte in enumerate(record) if byte == ord('"')]
    start = draw(st.one_of(st.sampled_from(quotes or [0]), st.integers(0, len(record))))
    end = draw(st.integers(start, min(len(record), start + 3)))
    put_in = st.one_of(
        st.sampled_from([b"\xff", b"\xc3", b"\x00", b"\x1f", b"\\", b"NaN"]), st.binary(max_size=3)
    )
    return record[:start] + draw(put_in) + record[end:]


_records = st.one_of(
    _nearly_events(),
    _nearly_events(),
    _damaged(),
    _anything.map(lambda value: json.dumps(value).encode()),
    st.one_of(st.binary(max_size=12), st.none()),
)


@settings(max_examples=1_000, deadline=None)
@given(_records)
@example(b'{"timestamp":1764000000,"id":"\\ud800","antenna_id":"a","bytes":1,"app":"x"}')
@example(b'{"timestamp":1764000000,"id":"a","antenna_id":"a","bytes":-0,"app":"x"}')
@example(b'{"timestamp":1764000000,"id":"a","antenna_id":"a","bytes":1e2,"app":"x"}')
@example(b'{"timestamp":1764000000,"id":"a\x01","antenna_id":"a","bytes":1,"app":"x"}')
@example(b'{"timestamp":1764000000,"id":"a","antenna_id":"a","bytes":1,"app":"x","e":"\\ud800"}')
@example(b'{"timestamp":1764000000,"id":"a","antenna_id":"a","bytes":1,"app":"x","\\u0000":0}')
@example(b'{"timestamp":1764000000,"id":"a","antenna_id":"a","bytes":1,"app":"x","e":"\xff"}')
@example(b'{"timestmap":1764000000,"id":"a","antenna_id":"a","bytes":1,"app":"x","timestamp":null}')
def test_both_ways_follow_the_contract(record: bytes | None) -> None:
    _compare(record)


@pytest.mark.parametrize("name", sorted(_DEFECTS))
@settings(max_examples=300, deadline=None)
@given(st.data())
def test_one_unusual_field(name: str, data: st.DataObject) -> None:
    event = data.draw(_good_events())
    if name in TIMES:
        event.pop("timestamp", None)
    _compare(json.dumps({**event, name: data.draw(_DEFECTS[name])}).encode())


def _compare(record: bytes | None) -> None:
    try:
        said = model(record)
    except _UnspecifiedError:
        assume(False)
    try:
        event = decode_record(record, LIMITS)
        found: Accepted | str = (event.event_time, event.id, event.antenna_id, event.bytes, event.app)
    except RejectedRecordError as rejection:
        found = rejection.reason
    assert found == said if isinstance(said, tuple) else found in said

    neighbour = b'{"timestamp":1764000000,"id":"n","antenna_id":"n","bytes":1,"app":"n"}'
    accepted, rejected = decode_records([neighbour, record, neighbour], LIMITS)
    verdicts: dict[int, Any] = {row[0]: row[1:] for row in accepted.iter_rows()}
    verdicts |= {position: reason for position, reason, _ in rejected.iter_rows()}
    kept = (NOW, "n", "n", 1, "n")
    assert verdicts == {0: kept, 1: found, 2: kept}
