"""Offsets arithmetic against a small model of a Kafka log: what is applied, passed over and lost."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from metering.events import Limits
from metering.executor_pass import Pass, PassPlan
from metering.offsets import advances, starting_offsets

SCHEMA: dict[str, Any] = {
    "value": pl.Binary,
    "partition": pl.Int32,
    "offset": pl.Int64,
    "timestamp": pl.Datetime("us", "UTC"),
}
CAME = datetime(2026, 11, 24, 16, tzinfo=UTC)
GOOD = b'{"timestamp":1764000000,"id":"d","antenna_id":"a","bytes":1,"app":"x"}'


@dataclass(frozen=True)
class Log:
    """One partition: the offsets of its records, what is committed, and where it begins by now.

    `read` is the part that a micro-batch reads, in Arrow batches; it may begin before what is committed.
    """

    records: list[int]
    committed: int
    start: int
    read: list[list[int]]

    @property
    def fresh(self) -> list[int]:
        return [offset for batch in self.read for offset in batch if offset >= self.committed]


@st.composite
def logs(draw: st.DrawFn) -> Log:
    """Records with gaps between them; some may have been removed from the start of the log."""
    steps = draw(st.lists(st.sampled_from([1, 1, 1, 2, 5]), max_size=12))
    first = draw(st.integers(0, 3))
    records = [first + sum(steps[:count]) for count in range(len(steps) + 1)]
    end = records[-1] + 1
    committed = draw(st.integers(0, end))
    start = draw(st.integers(0, end))
    begin = draw(st.integers(0, committed))
    stop = draw(st.integers(begin, end))
    read = [offset for offset in records if max(begin, start) <= offset < stop]
    cuts = sorted(draw(st.lists(st.integers(0, len(read)), max_size=2)))
    bounds = [0, *cuts, len(read)]
    batches = [read[low:high] for low, high in itertools.pairwise(bounds)]
    return Log(records, committed, start, batches)


def frame(rows: Sequence[tuple[int, int]]) -> pl.DataFrame:
    return pl.DataFrame(
        [(GOOD, partition, offset, CAME) for partition, offset in rows], schema=SCHEMA, orient="row"
    )


def missing_ranges(low: int, offsets: Sequence[int]) -> list[tuple[int, int]]:
    """The half-open ranges, from `low` on, that lie before or between these offsets."""
    absent = sorted(set(range(low, max(offsets, default=low))) - set(offsets))
    ranges: list[tuple[int, int]] = []
    for offset in absent:
        if ranges and ranges[-1][1] == offset:
            ranges[-1] = (ranges[-1][0], offset + 1)
        else:
            ranges.append((offset, offset + 1))
    return ranges


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.integers(0, 3), logs(), min_size=1, max_size=3))
def test_a_micro_batch_applies_what_is_not_committed_and_knows_the_gaps(partitions: dict[int, Log]) -> None:
    next_offsets = {partition: log.committed for partition, log in partitions.items()}
    one_pass = Pass(PassPlan("", "devices", 1, next_offsets, Limits(2**62, None)))
    for number in range(3):
        rows = [
            (partition, offset)
            for partition, log in partitions.items()
            for offset in (log.read[number] if number < len(log.read) else [])
        ]
        if rows:
            one_pass.add(frame(rows))
    applied = [row for events in one_pass.accepted for row in events.select("partition", "offset").rows()]
    expected = [(partition, offset) for partition, log in partitions.items() for offset in log.fresh]
    assert sorted(applied) == sorted(expected)
    for partition, log in partitions.items():
        span = one_pass.partitions.get(partition)
        if span is None:
            assert not any(log.read)
            continue
        assert span.next_offset == max(log.fresh, default=log.committed - 1) + 1
        assert span.gaps == missing_ranges(log.committed, log.fresh)

    steps = {
        step.partition: step
        for step in advances(
            next_offsets,
            {partition: [span] for partition, span in one_pass.partitions.items()},
            {partition: log.start for partition, log in partitions.items()},
        )
    }
    # A partition of which nothing came is passed over up to where its log begins now.
    silent = {
        partition: log
        for partition, log in partitions.items()
        if partition not in one_pass.partitions and log.start > log.committed
    }
    assert steps.keys() == silent.keys() | {partition for partition, log in partitions.items() if log.fresh}
    for partition, step in steps.items():
        log = partitions[partition]
        following = log.start if partition in silent else log.fresh[-1] + 1
        assert (step.expected_offset, step.next_offset) == (log.committed, following)
        lost = {offset for first, end in step.lost for offset in range(first, end)}
        passed_over = set(range(log.committed, following)) - set(log.fresh)
        assert lost == {offset for offset in passed_over if offset < log.start}


@settings(max_examples=100, deadline=None)
@given(logs())
def test_what_was_applied_once_is_never_applied_again(log: Log) -> None:
    """The same part of the log again, after its commit."""
    one_pass = Pass(PassPlan("", "devices", 1, {0: log.committed}, Limits(2**62, None)))
    read = [(0, offset) for batch in log.read for offset in batch]
    if not read:
        return
    one_pass.add(frame(read))
    (following,) = (span.next_offset for span in one_pass.partitions.values())
    again = Pass(PassPlan("", "devices", 1, {0: following}, Limits(2**62, None)))
    again.add(frame(read))
    assert again.accepted == again.rejected == []
    assert advances({0: following}, {0: [again.partitions[0]]}, {}) == []


def test_the_newest_clock_of_all_passes_counts() -> None:
    from metering.executor_pass import PartitionSpan

    spans: dict[int, list[Any]] = {
        0: [PartitionSpan(5, 100), PartitionSpan(7, None), PartitionSpan(6, 90)],
        1: [PartitionSpan(3)],
    }
    first, second = advances({0: 4, 1: 2}, spans, {})
    assert (first.next_offset, first.event_clock) == (7, 100)
    assert (second.next_offset, second.event_clock) == (3, None)


def test_starting_offsets() -> None:
    assert starting_offsets("devices", {0: 5, 3: 0}) == '{"devices": {"0": 5, "3": 0}}'
