"""The event rules: which records of the topic are accepted, and why the others are rejected.

One statement of the rules serves two ways through. ``decode_records`` takes a whole Arrow batch: one decoder
call a record, then the other rules on columns. Every record that is in any way unusual goes through
``decode_record``, which names the first rule that it breaks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
import polars as pl

INT64_MAX: Final = 2**63 - 1
# In UTF-8. A row of PostgreSQL's index holds 2704 bytes, with the window and the type of the total.
MAX_TEXT_BYTES: Final = 2000
NOT_GIVEN: Final = -1

Count = Annotated[int, msgspec.Meta(ge=0, le=INT64_MAX)]
Name = Annotated[str, msgspec.Meta(min_length=1)]


class Event(msgspec.Struct, gc=False):
    """One event as it stands on the wire. ``timestmap`` is an accepted spelling of ``timestamp``."""

    id: Name
    antenna_id: Name
    bytes: Count
    app: Name
    timestamp: Count = NOT_GIVEN
    timestmap: Count = NOT_GIVEN

    @property
    def event_time(self) -> int:
        """Epoch seconds, UTC; ``NOT_GIVEN`` where neither spelling is present."""
        return self.timestamp if self.timestamp != NOT_GIVEN else self.timestmap


@dataclass(frozen=True)
class Limits:
    """What event times are accepted, in epoch seconds. ``oldest`` None: as old as they come."""

    newest: int
    oldest: int | None


class RejectedRecordError(Exception):
    """A record that breaks a rule: ``reason`` is one of ``REASONS``, the message says what broke it."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


ACCEPTED_SCHEMA: Final = {
    "position": pl.UInt32,
    "event_time": pl.Int64,
    "id": pl.String,
    "antenna_id": pl.String,
    "bytes": pl.Int64,
    "app": pl.String,
}
REJECTED_SCHEMA: Final = {"position": pl.UInt32, "reason": pl.String, "detail": pl.String}

_event_decoder = msgspec.json.Decoder(Event)
_any_decoder = msgspec.json.Decoder()
_TEXT_FIELDS: Final = ("id", "antenna_id", "app")


def decode_records(records: Sequence[bytes | None], limits: Limits) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split records into (accepted, rejected); every position stands in exactly one of them.

    Args:
        records: raw Kafka values; None is a record without a value.
        limits: the accepted event times.

    Returns:
        accepted: ``position`` (in ``records``), ``event_time`` (epoch seconds), ``id``,
            ``antenna_id``, ``bytes``, ``app``.
        rejected: ``position``, ``reason`` (one of ``REASONS``), ``detail``.
    """
    events, positions, unusual = _decode_each(records)
    frame = _frame(positions, events).with_columns(broken=_breaks_a_rule(limits))
    unusual += frame.filter("broken")["position"].to_list()
    rejected = []
    for position in unusual:
        try:
            decode_record(records[position], limits)
        except RejectedRecordError as rejection:
            rejected.append((position, rejection.reason, rejection.detail))
    return (
        frame.filter(~pl.col("broken")).drop("broken"),
        pl.DataFrame(rejected, schema=REJECTED_SCHEMA, orient="row").sort("position"),
    )


def decode_record(record: bytes | None, limits: Limits) -> Event:
    """The event in one record.

    Raises:
        RejectedRecordError: the first rule that the record breaks.
    """
    if record is None:
        raise RejectedRecordError("not_json", "the record has no value")
    try:
        record.decode()
        event = _event_decoder.decode(record)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _rejection(record, error) from None
    _check_text(event)
    _check_event_time(event.event_time, limits)
    return event


def _decode_each(records: Sequence[bytes | None]) -> tuple[list[Event], list[int], list[int]]:
    """The events, their positions, and the positions of records without one."""
    decode = _event_decoder.decode
    events: list[Event] = []
    positions: list[int] = []
    unusual: list[int] = []
    not_text = _not_text(records)
    for position, record in enumerate(records):
        try:
            event = decode(record)  # type: ignore[arg-type]
        except (TypeError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            unusual.append(position)
            continue
        if not_text and position in not_text:
            unusual.append(position)
        else:
            events.append(event)
            positions.append(position)
    return events, positions, unusual


def _not_text(records: Sequence[bytes | None]) -> set[int]:
    """The positions of records that are not UTF-8: the decoder passes over the bytes of ignored fields."""
    try:
        b"\n".join(record or b"" for record in records).decode()
    except UnicodeDecodeError:
        return {position for position, record in enumerate(records) if not _is_text(record or b"")}
    return set()


def _is_text(record: bytes) -> bool:
    try:
        record.decode()
    except UnicodeDecodeError:
        return False
    return True


def _breaks_a_rule(limits: Limits) -> pl.Expr:
    event_time = pl.col("event_time")
    broken = (event_time == NOT_GIVEN) | (event_time > limits.newest)
    if limits.oldest is not None:
        broken |= event_time < limits.oldest
    for field in _TEXT_FIELDS:
        broken |= pl.col(field).str.contains("\0", literal=True)
        broken |= pl.col(field).str.len_bytes() > MAX_TEXT_BYTES
    return broken


def _frame(positions: Sequence[int], events: Sequence[Event]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "position": positions,
            "event_time": [event.event_time for event in events],
            "id": [event.id for event in events],
            "antenna_id": [event.antenna_id for event in events],
            "bytes": [event.bytes for event in events],
            "app": [event.app for event in events],
        },
        schema=ACCEPTED_SCHEMA,
    )


def _check_text(event: Event) -> None:
    # PostgreSQL's TEXT cannot hold U+0000.
    for field in _TEXT_FIELDS:
        if "\0" in getattr(event, field):
            raise RejectedRecordError("nul_character", f"{field} contains U+0000, which no table can hold")
    for field in _TEXT_FIELDS:
        if (size := len(getattr(event, field).encode())) > MAX_TEXT_BYTES:
            raise RejectedRecordError(
                "too_long", f"{field} is {size} bytes long, and an index of the tables holds {MAX_TEXT_BYTES}"
            )


def _check_event_time(event_time: int, limits: Limits) -> None:
    if event_time == NOT_GIVEN:
        raise RejectedRecordError("missing_field", "timestamp is missing")
    if event_time > limits.newest:
        raise RejectedRecordError("in_the_future", f"timestamp {event_time} is later than {limits.newest}")
    if limits.oldest is not None and event_time < limits.oldest:
        raise RejectedRecordError("too_late", f"timestamp {event_time} is older than {limits.oldest}")


def _rejection(record: bytes, error: Exception) -> RejectedRecordError:
    """Name the first rule, in the order of ``BROKEN_RULES``, that a record without an event breaks."""
    try:
        record.decode()
        value = _any_decoder.decode(record)
    except (msgspec.DecodeError, UnicodeDecodeError) as malformed:
        return RejectedRecordError("not_json", str(malformed))
    except RecursionError:
        return RejectedRecordError("not_json", "nested too deeply")
    if not isinstance(value, dict):
        return RejectedRecordError("not_an_object", f"the record is of type {type(value).__name__}")
    time_fields = [field for field in ("timestamp", "timestmap") if field in value] or ["timestamp"]
    rejection = _absence(value, (*_TEXT_FIELDS, "bytes", *time_fields))
    for field in _TEXT_FIELDS:
        rejection = rejection or _text_rejection(field, value[field])
    for field in ("bytes", *time_fields):
        rejection = rejection or _integer_rejection(field, value[field])
    # What only the decoder objects to is a name given twice, the first time with a wrong value.
    return rejection or RejectedRecordError("wrong_type", str(error))


def _absence(value: dict[str, object], fields: Sequence[str]) -> RejectedRecordError | None:
    for field in fields:
        if field not in value:
            return RejectedRecordError("missing_field", f"{field} is missing")
        if value[field] is None:
            return RejectedRecordError("null_field", f"{field} is null")
    return None


def _text_rejection(field: str, value: object) -> RejectedRecordError | None:
    if not isinstance(value, str):
        return RejectedRecordError("wrong_type", f"{field} is of type {type(value).__name__}, not a string")
    if not value:
        return RejectedRecordError("empty_field", f"{field} is empty")
    return None


def _integer_rejection(field: str, value: object) -> RejectedRecordError | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return RejectedRecordError("wrong_type", f"{field} is of type {type(value).__name__}, not an integer")
    if value < 0:
        return RejectedRecordError("negative", f"{field} {value} is negative")
    if value > INT64_MAX:
        return RejectedRecordError("out_of_range", f"{field} {value} is greater than {INT64_MAX}")
    return None
