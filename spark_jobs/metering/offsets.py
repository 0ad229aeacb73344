"""Committed offsets against the Kafka log, before a driver begins to read."""

import json
from collections.abc import Iterable

from metering.commits import Advance, MicroBatch, StreamStore
from metering.kafka_log import KafkaError, KafkaLog
from metering.totals import no_totals


def check_offsets(store: StreamStore, log: KafkaLog) -> None:
    """Begin to count new partitions, and compare the committed offsets with the log.

    Records that retention removed before they were read are recorded in ``ops.lost_offsets`` and passed
    over, since they can never be read.

    Raises:
        KafkaError: the log ends before a committed offset: the topic was deleted and made anew.
    """
    partitions = log.partitions()
    starts = log.start_offsets(partitions)
    ends = log.end_offsets(partitions)
    store.add_partitions(starts)
    committed = store.next_offsets()
    lost = []
    for partition in partitions:
        expected = committed[partition]
        if ends[partition] < expected:
            raise KafkaError(
                f"topic {log.topic!r} partition {partition} ends at offset {ends[partition]}, but everything "
                f"below {expected} is committed already: the topic was deleted and made anew, and its "
                "records cannot be told from the old ones; meter it under a new topic name, or delete the "
                "topic's rows from ops.stream_offsets to count it from its start"
            )
        if starts[partition] > expected:
            start = starts[partition]
            lost.append(Advance(partition, expected, start, lost=((expected, start),)))
    if lost:
        store.commit(MicroBatch(lost, no_totals(), [], 0, {}, None, 0), lambda files: None)
        tell_lost(log.topic, lost)


def tell_lost(topic: str, advances: Iterable[Advance]) -> None:
    """Print an alarm for each range of records that retention removed before they were read."""
    for advance in advances:
        for first, end in advance.lost:
            print(
                f"ALARM: records lost: Kafka's retention removed offsets {first} to {end - 1} of topic "
                f"{topic!r} partition {advance.partition} before they were read; see ops.lost_offsets",
                flush=True,
            )


def starting_offsets(topic: str, next_offsets: dict[int, int]) -> str:
    """The committed offsets in the form of Spark's option ``startingOffsets``."""
    return json.dumps({topic: {str(partition): offset for partition, offset in next_offsets.items()}})
