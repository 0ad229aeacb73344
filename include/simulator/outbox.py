"""Sends blocks so that the ledger says exactly what is in Kafka, whenever the process dies.

A block is pending in the ledger from before its first event is sent until Kafka has all of it. What a dead
sender left pending is completed first: the lines that are missing in the topic are sent, no other.
"""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from include.simulator.generator import Block
from include.simulator.ledger import Ledger, LedgerError, Pending, SenderBusyError, SenderState
from include.simulator.topic import KafkaTopic

# What a dead sender had handed to its sockets reaches the log before this has passed.
SETTLE_SECONDS: Final = 2.0

logger = logging.getLogger(__name__)


class Outbox:
    """Sends one block at a time; ``start`` returns at once, ``finish`` when Kafka has the block.

    Without a ledger nothing is recorded, and nothing completed after a crash.
    """

    def __init__(
        self, topic: KafkaTopic, ledger: Ledger | None, sender: str, plan: str, stop: Callable[[], bool]
    ) -> None:
        self._topic = topic
        self._ledger = ledger
        self._sender = sender
        self._plan = plan
        self._stop = stop
        self._under_way: Block | None = None

    def start(self, block: Block) -> None:
        """Record the block as pending and queue its lines."""
        assert self._under_way is None, "finish the block before"
        if self._ledger:
            offsets = self._topic.end_offsets(self._stop)
            state = SenderState(self._topic.name, self._plan, block.start, offsets)
            self._ledger.begin(self._sender, state, Pending(block.end, block.lines, block.tally))
        self._under_way = block
        self._topic.send(block.lines, first_partition=block.start)

    def finish(self) -> None:
        """Wait until Kafka has the block under way, if any, and count it.

        Raises:
            KafkaSendError: not everything was delivered; the block stays pending in the ledger.
        """
        if self._under_way is None:
            return
        self._topic.flush(self._stop)
        if self._ledger:
            self._ledger.delivered(self._sender)
        self._under_way = None


def complete_orphans(topic: KafkaTopic, ledger: Ledger, stop: Callable[[], bool]) -> None:
    """Complete what other senders, who are no longer there, left behind in this ledger.

    Raises:
        LedgerError, KafkaSendError: as ``complete_pending``.
    """
    for sender in ledger.pending_tallies():
        with suppress(SenderBusyError), ledger.sending(sender, topic.name):
            complete_pending(topic, ledger, sender, stop)


def complete_pending(topic: KafkaTopic, ledger: Ledger, sender: str, stop: Callable[[], bool]) -> None:
    """Send what is missing of the block that this sender left behind, and count the block.

    Lines are told apart by their bytes alone. So two simulators that send the same traffic (seed, rate,
    event time) into one topic at the moment of a crash could be mistaken for each other.

    Raises:
        LedgerError: the topic was created anew since the ledger's last record.
        KafkaSendError: Kafka cannot be reached, or retention removed what must be compared.
    """
    state = ledger.state(sender)
    if state is None:
        return
    _check_same_log(topic, ledger, state.end_offsets, topic.end_offsets(stop))
    pending = ledger.pending(sender)
    if pending is None:
        return
    time.sleep(SETTLE_SECONDS)
    found = topic.count(pending.lines, state.end_offsets, topic.end_offsets(stop))
    missing = []
    for line in pending.lines:
        if found[line]:
            found[line] -= 1
        else:
            missing.append(line)
    logger.info(
        "completing %d events that were under way: %d of them are missing", len(pending.lines), len(missing)
    )
    topic.send(missing, first_partition=pending.next_second)
    topic.flush(stop)
    ledger.delivered(sender)


def _check_same_log(topic: KafkaTopic, ledger: Ledger, recorded: dict[int, int], end: dict[int, int]) -> None:
    for partition, offset in recorded.items():
        if end.get(partition, 0) < offset:
            raise LedgerError(
                f"topic {topic.name!r} ends at offset {end.get(partition, 0)} in partition {partition}, but "
                f"ledger {ledger.path} saw it end at {offset}: the topic was created anew; give a new ledger"
            )
