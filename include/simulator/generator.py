"""Simulated traffic as a pure function of seed and event time, with every event's verdict by construction.

Event number n (counted from 1970 at the traffic's rate) draws all its fields from block n of a counter-based
random generator (Philox). So any span of seconds can be generated on its own: the same seed and the same
second give the same bytes, whatever was generated before, and a sender goes on exactly where it stopped.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from include.simulator.broken import BROKEN_LINES
from include.simulator.tally import ACCEPTED, LATE, UNKNOWN_DEVICE, Tally, TotalKey, TotalType, window_of

APPS: Final = ("SKYPE", "TELEGRAM", "FACETIME", "FACEBOOK", "WHATSAPP")
MAX_BYTES: Final = 9_999
UNKNOWN_DEVICES: Final = 5
MAX_DEVICES: Final = 1_000_000_000
MAX_ANTENNAS: Final = 1_000_000
MAX_EVENTS_PER_SECOND: Final = 1_000_000
MAX_LATE_MINUTES: Final = 60 * 24 * 365
IN_THE_FUTURE: Final = "in_the_future"

# Records may be read long after they were sent, so future events lie decades ahead: the years 2100 to 2199.
FUTURE_START: Final = 4_102_444_800
FUTURE_SECONDS: Final = 100 * 365 * 86_400

_LINE: Final = b'{"bytes":%d,"timestamp":%d,"app":"%b","id":"%b%012d","antenna_id":"%b"}'
_DEVICE_PREFIXES: Final = np.array([b"00000000-0000-0000-0000-", b"99999999-9999-9999-9999-"], dtype=object)
_APP_NAMES: Final = np.array([app.encode() for app in APPS], dtype=object)

# Second words of Philox keys: the streams of random numbers that one seed has.
_EVENTS: Final = 0
_MOVES: Final = 1
_PRIME: Final = 2**31 - 1

Integers: TypeAlias = npt.NDArray[np.int64]
Words: TypeAlias = npt.NDArray[np.uint64]

# Positions in the cumulated shares; what lies beyond them is an ordinary event.
_IS_BROKEN, _IS_FUTURE, _IS_UNKNOWN, _IS_LATE, _IS_PLAIN = range(5)


@dataclass(frozen=True)
class Traffic:
    """What the traffic looks like. Shares are parts of all events, 0 to 1, and exclude each other.

    Devices are numbered from 1 (``device_id``), antennas from 0 (``antenna_id``). Late events lie up to
    ``max_late_minutes`` before the clock; a stream that limits lateness must allow as much.

    Raises:
        ValueError: a value out of range; names the value, the rule and the fix.
    """

    seed: int = 1
    devices: int = 20
    antennas: int = 5
    events_per_second: float = 100.0
    broken_share: float = 0.0
    late_share: float = 0.0
    unknown_share: float = 0.0
    future_share: float = 0.0
    max_late_minutes: int = 60

    def __post_init__(self) -> None:
        _check_integer("seed", self.seed, 0, 2**63 - 1)
        _check_integer("devices", self.devices, 1, MAX_DEVICES)
        _check_integer("antennas", self.antennas, 1, MAX_ANTENNAS)
        _check_integer("max_late_minutes", self.max_late_minutes, 1, MAX_LATE_MINUTES)
        if not 0.001 <= self.events_per_second <= MAX_EVENTS_PER_SECOND:
            raise ValueError(
                f"events_per_second {self.events_per_second} must be 0.001 to {MAX_EVENTS_PER_SECOND}; "
                "start several simulators with different seeds for more"
            )
        names = ("broken_share", "late_share", "unknown_share", "future_share")
        for name in names:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(
                    f"{name} {getattr(self, name)} must be 0 to 1, a part of all events (0.01 is 1 %)"
                )
        total = math.fsum(getattr(self, name) for name in names)
        if total > 1 + 1e-9:
            raise ValueError(f"{' + '.join(names)} = {total:g} must be 1 at most; lower one of them")

    @property
    def millirate(self) -> int:
        """Events in a thousand seconds: an integer, so that the count of any span is exact."""
        return round(self.events_per_second * 1000)

    def number_at(self, second: int) -> int:
        """How many events lie before this epoch second, counted from 1970."""
        return second * self.millirate // 1000

    def count(self, start: int, end: int) -> int:
        """Events of the epoch seconds start <= second < end."""
        return self.number_at(end) - self.number_at(start)


@dataclass(frozen=True)
class Block:
    """The events of the epoch seconds start <= second < end, in sending order, and what must come of them.

    ``rejected`` maps the positions of the lines that must be rejected to their reasons.
    """

    start: int
    end: int
    lines: list[bytes | None]
    tally: Tally
    rejected: dict[int, str]


def device_id(number: int) -> str:
    """The id of device 1, 2, ...: the first 20 are those of user_metadata.csv."""
    return f"00000000-0000-0000-0000-{number:012d}"


def unknown_device_id(number: int) -> str:
    """The id of a device that no user_metadata knows."""
    return f"99999999-9999-9999-9999-{number:012d}"


def antenna_id(number: int) -> str:
    """The id of antenna 0, 1, ...: one digit repeated up to 9, from 10 on the number in the first group."""
    if number < 10:
        return "-".join(str(number) * length for length in (8, 4, 4, 4, 12))
    return f"{number:08d}-0000-0000-0000-000000000000"


def generate(traffic: Traffic, start: int, end: int) -> Block:
    """The events of the epoch seconds start <= second < end, clocked at their second."""
    seconds = np.arange(start, end + 1, dtype=np.int64)
    numbers = seconds * traffic.millirate // 1000
    clock = np.repeat(seconds[:-1], np.diff(numbers))
    words = _random_words(traffic.seed, _EVENTS, int(numbers[0]), len(clock))
    share, detail = words[:, 0] / 2.0**64, words[:, 3]
    cumulated = np.cumsum(
        [traffic.broken_share, traffic.future_share, traffic.unknown_share, traffic.late_share]
    )
    label = np.searchsorted(cumulated, share, side="right")

    event_time = clock.copy()
    event_time[label == _IS_FUTURE] = FUTURE_START + _below(detail[label == _IS_FUTURE], FUTURE_SECONDS)
    late = label == _IS_LATE
    event_time[late] = np.maximum(clock[late] - 1 - _below(detail[late], traffic.max_late_minutes * 60), 0)
    unknown = label == _IS_UNKNOWN
    device = np.where(unknown, _below(detail, UNKNOWN_DEVICES), _below(words[:, 1], traffic.devices)) + 1
    events = _Events(
        label=label,
        event_time=event_time,
        device=device,
        unknown=unknown.astype(np.int64),
        antenna=_antennas(traffic, clock, device),
        app=_below(words[:, 2] >> np.uint64(40), len(APPS)),
        size=_below(words[:, 2], MAX_BYTES + 1),
    )
    lines, rejected = _lines(traffic, events, detail)
    return Block(start, end, lines, _tally(traffic, events, rejected), rejected)


@dataclass(frozen=True)
class _Events:
    """One array entry for each event."""

    label: Integers
    event_time: Integers
    device: Integers
    unknown: Integers
    antenna: Integers
    app: Integers
    size: Integers


def _random_words(seed: int, stream: int, first: int, count: int) -> Words:
    """Four 64-bit words for each of the numbers first, first + 1, ...: shape (count, 4)."""
    generator = np.random.Philox(key=np.array([seed, stream], dtype=np.uint64), counter=first)
    return generator.random_raw(4 * count).reshape(count, 4)


def _below(words: Words, limit: int) -> Integers:
    return (words % np.uint64(limit)).astype(np.int64)


def _antennas(traffic: Traffic, clock: Integers, device: Integers) -> Integers:
    """Where each device is: it stays with one antenna for a minute.

    A random linear hash for each minute places any number of devices without a table of them.
    """
    if not len(clock):
        return device
    first_minute = int(clock[0]) // 60
    minute = clock // 60 - first_minute
    words = _random_words(traffic.seed, _MOVES, first_minute, int(minute[-1]) + 1)
    factor = _below(words[:, 0], _PRIME - 1) + 1
    offset = _below(words[:, 1], _PRIME)
    return (factor[minute] * device + offset[minute]) % _PRIME % traffic.antennas


@cache
def _antenna_names(antennas: int) -> npt.NDArray[Any]:
    return np.array([antenna_id(number).encode() for number in range(antennas)], dtype=object)


def _lines(traffic: Traffic, events: _Events, detail: Words) -> tuple[list[bytes | None], dict[int, str]]:
    """The Kafka values, and the reasons of those that must be rejected, by position."""
    columns = (
        events.size.tolist(),
        events.event_time.tolist(),
        _APP_NAMES[events.app].tolist(),
        _DEVICE_PREFIXES[events.unknown].tolist(),
        events.device.tolist(),
        _antenna_names(traffic.antennas)[events.antenna].tolist(),
    )
    lines: list[bytes | None] = [_LINE % fields for fields in zip(*columns, strict=True)]
    rejected = dict.fromkeys(np.flatnonzero(events.label == _IS_FUTURE).tolist(), IN_THE_FUTURE)
    for position in np.flatnonzero(events.label == _IS_BROKEN).tolist():
        broken = BROKEN_LINES[int(detail[position]) % len(BROKEN_LINES)]
        lines[position] = broken.line(
            size=columns[0][position],
            event_time=columns[1][position],
            app=columns[2][position],
            device=columns[3][position] + b"%012d" % columns[4][position],
            antenna=columns[5][position],
        )
        rejected[position] = broken.reason
    return lines, rejected


def _tally(traffic: Traffic, events: _Events, rejected: dict[int, str]) -> Tally:
    count_of = np.bincount(events.label, minlength=5).tolist()
    verdicts = Counter(
        {
            ACCEPTED: count_of[_IS_PLAIN],
            LATE: count_of[_IS_LATE],
            UNKNOWN_DEVICE: count_of[_IS_UNKNOWN],
        }
    )
    tally = Tally(verdicts=+(verdicts + Counter(rejected.values())))
    accepted = events.label >= _IS_UNKNOWN
    if not accepted.any():
        return tally
    window = window_of(events.event_time[accepted])
    size = events.size[accepted]

    def add(total_type: TotalType, name_of: Callable[[int], str], codes: Integers, limit: int) -> None:
        keys, position = np.unique(window * limit + codes[accepted], return_inverse=True)
        # Sums of one block stay far below 2^53, where a float counts exactly.
        sums = np.bincount(position, weights=size).astype(np.int64)
        for key, total in zip(keys.tolist(), sums.tolist(), strict=True):
            start, code = divmod(key, limit)
            tally.totals[TotalKey(start, total_type, name_of(code))] = total

    def device_name(code: int) -> str:
        return device_id(code) if code <= traffic.devices else unknown_device_id(code - traffic.devices)

    device = events.device + events.unknown * traffic.devices
    add(TotalType.DEVICE, device_name, device, traffic.devices + UNKNOWN_DEVICES + 1)
    add(TotalType.ANTENNA, antenna_id, events.antenna, traffic.antennas)
    add(TotalType.APP, APPS.__getitem__, events.app, len(APPS))
    return tally


def _check_integer(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} {value} must be a whole number from {low} to {high}")
