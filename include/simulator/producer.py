"""Sends simulated traffic, or the lines of a file, to Kafka."""

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, BinaryIO, Final

from include.simulator.generator import Traffic, generate
from include.simulator.ledger import Ledger
from include.simulator.outbox import Outbox, complete_orphans, complete_pending
from include.simulator.progress import SendProgress
from include.simulator.topic import KafkaTopic

BLOCK_EVENTS: Final = 50_000
BLOCK_BYTES: Final = 32 * 1024 * 1024
BLOCK_SECONDS: Final = 3600
POLL_SECONDS: Final = 0.1
EARLIEST_START: Final = datetime(1971, 1, 1, tzinfo=UTC)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SimulationPlan:
    """What to send, and for which event times.

    Args:
        traffic: what the events look like.
        start: the first second of event time, with an offset; None: now. Event time that has passed is sent
            as fast as Kafka takes it, what lies ahead in real time.
        minutes: how much event time to send; None: until stopped, and with a ledger from where it stopped.

    Raises:
        ValueError: a start without an offset, in the future or before 1971, or minutes not positive.
    """

    traffic: Traffic
    start: datetime | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        if self.minutes is not None and not self.minutes > 0:
            raise ValueError(f"minutes {self.minutes} must be more than 0")
        if self.start is None:
            return
        if self.start.tzinfo is None:
            raise ValueError(
                f"start {self.start.isoformat()} has no offset from UTC; add one, like +00:00 or Z"
            )
        if not EARLIEST_START <= self.start <= datetime.now(UTC):
            raise ValueError(
                f"start {self.start.isoformat()} must lie from {EARLIEST_START:%Y} to now; "
                "leave it out to begin now"
            )


@dataclass(frozen=True)
class SendSummary:
    """What one call of ``send`` sent: event times ``start`` <= t < ``end``, in ``seconds`` of real time."""

    events: int
    accepted: int
    rejected: int
    start: datetime
    end: datetime
    seconds: float
    stopped: bool


def send(
    kafka_config: Mapping[str, Any],
    topic: str,
    plan: SimulationPlan,
    ledger: Ledger | None,
    stop: Callable[[], bool],
    sender: str = "simulator",
) -> SendSummary:
    """Send the plan's traffic until it is through, or ``stop()`` returns true; what was begun is delivered.

    Args:
        kafka_config: librdkafka settings, at least ``bootstrap.servers``.
        topic: an existing topic.
        plan: what to send.
        ledger: where to count what was sent; with it a killed send is completed and resumed by the next one.
        stop: asked several times a second.
        sender: the name under which the ledger keeps the place; two at once need two names.

    Raises:
        KafkaSendError: Kafka cannot be reached, or did not take everything; nothing is lost from the ledger.
        LedgerError: the ledger is in use by the same sender, or belongs to another topic.
    """
    with ExitStack() as stack:
        if ledger:
            stack.enter_context(ledger.sending(sender, topic))
        kafka = stack.enter_context(KafkaTopic(kafka_config, topic))
        if ledger:
            complete_pending(kafka, ledger, sender, stop)
            complete_orphans(kafka, ledger, stop)
        place = _find_place(plan, ledger, sender)
        outbox = Outbox(kafka, ledger, sender, place.plan, stop)
        return _Sender(plan.traffic, place, outbox, stop).run()


@dataclass(frozen=True)
class _Place:
    """The epoch seconds start <= second < end still to be sent; ``end`` None: no end."""

    plan: str
    start: int
    end: int | None


def _find_place(plan: SimulationPlan, ledger: Ledger | None, sender: str) -> _Place:
    """Where to begin: an endless plan, and a bounded one that was interrupted, go on where they stopped."""
    begin = int(plan.start.timestamp() if plan.start else time.time())
    end = None if plan.minutes is None else begin + round(plan.minutes * 60)
    # A plan from now on is never the same plan again: it always begins afresh.
    description = json.dumps({**asdict(plan.traffic), "start": begin, "end": end}, sort_keys=True)
    state = ledger.state(sender) if ledger else None
    if state and (end is None or (state.plan == description and state.next_second < end)):
        begin = state.next_second
        logger.info("going on at %s", _utc(begin).isoformat())
    return _Place(description, begin, end)


class _Sender:
    """Sends blocks one after the other, and keeps count."""

    def __init__(self, traffic: Traffic, place: _Place, outbox: Outbox, stop: Callable[[], bool]) -> None:
        self._traffic = traffic
        self._place = place
        self._outbox = outbox
        self._stop = stop
        self._next_second = place.start
        self._events = 0
        self._accepted = 0

    def run(self) -> SendSummary:
        """Send what has passed as fast as Kafka takes it, then the rest in real time."""
        started_at = time.monotonic()
        history_end = self._due()
        with SendProgress("history", self._traffic.count(self._place.start, history_end)) as progress:
            self._send_until(history_end, progress)
        if self._next_second == history_end:
            logger.info("history sent: %d events up to %s", self._events, _utc(history_end).isoformat())
        if not self._is_through():
            total = (
                None if self._place.end is None else self._traffic.count(self._next_second, self._place.end)
            )
            with SendProgress("live", total) as progress:
                self._send_live(progress)
        return SendSummary(
            events=self._events,
            accepted=self._accepted,
            rejected=self._events - self._accepted,
            start=_utc(self._place.start),
            end=_utc(self._next_second),
            seconds=time.monotonic() - started_at,
            stopped=not self._is_through(),
        )

    def _due(self) -> int:
        """The second before which everything may be sent now."""
        now = int(time.time()) + 1
        return max(self._next_second, now if self._place.end is None else min(now, self._place.end))

    def _is_through(self) -> bool:
        return self._place.end is not None and self._next_second >= self._place.end

    def _send_live(self, progress: SendProgress) -> None:
        while not self._is_through() and not self._stop():
            if self._due() > self._next_second:
                self._send_until(self._due(), progress)
            else:
                time.sleep(POLL_SECONDS)

    def _send_until(self, end: int, progress: SendProgress) -> None:
        step = max(1, min(BLOCK_SECONDS, int(BLOCK_EVENTS / self._traffic.events_per_second)))
        while self._next_second < end and not self._stop():
            # Made while Kafka still takes the block before.
            block = generate(self._traffic, self._next_second, min(self._next_second + step, end))
            self._outbox.finish()
            self._outbox.start(block)
            self._next_second = block.end
            self._events += block.tally.events
            self._accepted += block.tally.accepted
            progress.advance(block.tally.events)
        self._outbox.finish()


def replay(kafka_config: Mapping[str, Any], topic: str, lines: BinaryIO, stop: Callable[[], bool]) -> int:
    """Send an open file's lines as they are, byte for byte without the line break; returns how many.

    What must come of a file's lines is not known, so no ledger counts them.

    Raises:
        KafkaSendError: Kafka cannot be reached, or did not take everything.
        OSError: the file cannot be read.
    """
    sent = 0
    with KafkaTopic(kafka_config, topic) as kafka, SendProgress("replay", None) as progress:
        for chunk in _line_chunks(lines):
            if stop():
                break
            kafka.send(chunk, first_partition=0)
            kafka.flush(stop)
            sent += len(chunk)
            progress.advance(len(chunk))
    return sent


def _line_chunks(file: BinaryIO) -> Iterator[list[bytes]]:
    lines: list[bytes] = []
    size = 0
    for line in file:
        lines.append(line.removesuffix(b"\n"))
        size += len(line)
        if len(lines) == BLOCK_EVENTS or size >= BLOCK_BYTES:
            yield lines
            lines, size = [], 0
    if lines:
        yield lines


def _utc(epoch_seconds: int) -> datetime:
    return datetime.fromtimestamp(epoch_seconds, UTC)
