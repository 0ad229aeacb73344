"""Committed offsets against the Kafka log: how partitions advance, and what was lost."""

import json
from collections.abc import Iterable, Mapping, Sequence

from metering import logs
from metering.commits import Advance, MicroBatch, StreamStore
from metering.executor_pass import PartitionSpan
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
            logs.error(
                f"ALARM: records lost: Kafka's retention removed offsets {first} to {end - 1} of topic "
                f"{topic!r} partition {advance.partition} before they were read; see ops.lost_offsets",
                topic=topic,
                partition=advance.partition,
                offsets=[first, end],
            )


def starting_offsets(topic: str, next_offsets: dict[int, int]) -> str:
    """The committed offsets in the form of Spark's option ``startingOffsets``."""
    return json.dumps({topic: {str(partition): offset for partition, offset in next_offsets.items()}})


def advances(
    next_offsets: Mapping[int, int],
    spans: Mapping[int, Sequence[PartitionSpan]],
    log_starts: Mapping[int, int],
) -> list[Advance]:
    """How the partitions of a micro-batch advance; those that brought nothing new stay where they are.

    Only where the log begins beyond the expected offset did retention remove records; other gaps are
    transaction markers or compaction.

    Args:
        next_offsets: partition -> its committed next offset.
        spans: partition -> what the passes saw of it.
        log_starts: partition -> the first offset that the log still holds, where a span has gaps or where
            nothing came of records that should be there.
    """
    steps = [
        Advance(partition, next_offsets[partition], start, lost=((next_offsets[partition], start),))
        for partition, start in log_starts.items()
        if partition not in spans and start > next_offsets[partition]
    ]
    for partition, seen in spans.items():
        expected = next_offsets[partition]
        following = max(span.next_offset for span in seen)
        if following > expected:
            start = log_starts.get(partition, 0)
            lost = tuple(
                (first, min(end, start)) for span in seen for first, end in span.gaps if first < start
            )
            clocks = [span.event_clock for span in seen if span.event_clock is not None]
            steps.append(Advance(partition, expected, following, max(clocks, default=None), lost))
    return steps
