"""What an executor does with its share of a micro-batch: one Arrow pass over the Kafka records.

It leaves out what was already applied, parses and checks the rest, stages the accepted events and the
rejected records as Parquet, and returns one small row: partial totals, file entries, counts.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec
import polars as pl
import pyarrow as pa

from metering.archive import EVENTS, REJECTED, StagedFile, Storage
from metering.events import Limits, decode_records
from metering.hours import HOUR_SECONDS, WINDOW_SECONDS
from metering.reasons import REFUSED
from metering.totals import no_totals, sum_totals, totals

RECORD_COLUMNS: Final = ("value", "partition", "offset", "timestamp")
RESULT_SCHEMA: Final = "result binary"


class OffsetRange(NamedTuple):
    """The records of a partition from the offset ``first`` to ``last``, both included."""

    partition: int
    first: int
    last: int


class LargestEvent(NamedTuple):
    """The event of the most bytes, and where it stands."""

    bytes: int
    partition: int
    offset: int


class PartitionSpan(msgspec.Struct):
    """What a pass saw of one Kafka partition.

    ``next_offset`` is one past its last record; ``gaps`` are half-open ranges of offsets that did not
    arrive (transaction markers, compaction or retention); ``event_clock`` is the newest
    least(event time, Kafka timestamp) of an accepted event, in epoch seconds, None without one.
    """

    next_offset: int
    event_clock: int | None = None
    gaps: list[tuple[int, int]] = []


class PassResult(msgspec.Struct):
    """What a pass returns to the driver; ``totals`` is an Arrow IPC stream of ``TOTALS_SCHEMA``."""

    partitions: dict[int, PartitionSpan]
    files: list[StagedFile]
    accepted: int
    rejected: dict[str, int]
    newest_event_time: int | None
    largest: LargestEvent | None
    totals: bytes

    def totals_frame(self) -> pl.DataFrame:
        """The partial totals: ``window``, ``type``, ``id``, ``value``."""
        return pl.read_ipc_stream(self.totals)


@dataclass(frozen=True)
class PassPlan:
    """What every pass of a micro-batch needs to know; travels to the executors.

    ``next_offsets`` maps each partition to its committed next offset; ``refused`` are records that a person
    has decided to reject.
    """

    storage_path: str
    topic: str
    epoch: int
    next_offsets: dict[int, int]
    limits: Limits
    refused: list[OffsetRange] = field(default_factory=list)


@dataclass
class Pass:
    """Takes in records batch by batch; ``accepted`` and ``rejected`` keep what became of them.

    accepted: ``event_time`` (epoch seconds), ``id``, ``antenna_id``, ``bytes``, ``app``, ``partition``,
    ``offset``, ``timestamp`` (of Kafka). rejected: ``reason``, ``detail`` and ``RECORD_COLUMNS``.
    """

    plan: PassPlan
    partitions: dict[int, PartitionSpan] = field(default_factory=dict)
    accepted: list[pl.DataFrame] = field(default_factory=list)
    rejected: list[pl.DataFrame] = field(default_factory=list)

    def add(self, records: pl.DataFrame, limits: Limits | None = None) -> None:
        """Take in records with ``RECORD_COLUMNS``, in the order of their offsets per partition.

        ``limits`` are those of these records, where they are others than the plan's.
        """
        for (partition,), of_partition in records.group_by("partition", maintain_order=True):
            self._note_offsets(int(partition), of_partition["offset"])
        applied = pl.col("partition").replace_strict(self.plan.next_offsets, default=0, return_dtype=pl.Int64)
        fresh = records.filter(pl.col("offset") >= applied)
        if fresh.is_empty():
            return
        events, rejects = decode_records(fresh["value"].to_list(), limits or self.plan.limits)
        positions = fresh.drop("value").with_row_index("position")
        events = events.join(positions, on="position", maintain_order="left")
        if self.plan.refused:
            events, refused = self._refuse(events)
            rejects = pl.concat([rejects, refused]).sort("position")
        self.accepted.append(events.drop("position"))
        if not rejects.is_empty():
            whole = fresh.with_row_index("position")
            self.rejected.append(rejects.join(whole, on="position", maintain_order="left").drop("position"))

    def _refuse(self, events: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Split off the refused events, as rows of ``REJECTED_SCHEMA``."""
        by_hand = pl.any_horizontal(
            (pl.col("partition") == span.partition) & pl.col("offset").is_between(span.first, span.last)
            for span in self.plan.refused
        )
        refused = events.filter(by_hand).select(
            "position", reason=pl.lit(REFUSED), detail=pl.lit("refused by --refuse-offsets")
        )
        return events.filter(~by_hand), refused

    def _note_offsets(self, partition: int, offsets: pl.Series) -> None:
        expected = self.plan.next_offsets.get(partition, 0)
        span = self.partitions.setdefault(partition, PartitionSpan(next_offset=expected))
        fresh = offsets.filter(offsets >= span.next_offset)
        if fresh.is_empty():
            return
        before = pl.concat([pl.Series([span.next_offset - 1], dtype=pl.Int64), fresh[:-1]])
        jumps = fresh - before > 1
        span.gaps += list(zip((before + 1).filter(jumps), fresh.filter(jumps), strict=True))
        span.next_offset = int(fresh[-1]) + 1

    def result(self) -> PassResult:
        """Stage the files, total the events and close the pass."""
        storage = Storage(self.plan.storage_path)
        partials = no_totals()
        files: list[StagedFile] = []
        newest = None
        largest = None
        events = pl.concat(self.accepted) if self.accepted else pl.DataFrame()
        if not events.is_empty():
            largest = LargestEvent(*events.select("bytes", "partition", "offset").top_k(1, by="bytes").row(0))
            try:
                partials = totals(events, WINDOW_SECONDS)
            except OverflowError as error:
                raise OverflowError(overflow_advice(str(error), largest)) from None
            newest = int(events["event_time"].max())  # type: ignore[arg-type]
            self._note_event_clocks(events)
            files += stage_events(storage, events, self.plan)
        rejects = pl.concat(self.rejected) if self.rejected else None
        counts: dict[str, int] = {}
        if rejects is not None:
            counts = dict(rejects.group_by("reason").len().iter_rows())
            files += stage_rejects(storage, rejects, self.plan)
        return PassResult(
            partitions=self.partitions,
            files=files,
            accepted=events.height,
            rejected=counts,
            newest_event_time=newest,
            largest=largest,
            totals=partials.write_ipc_stream(None).getvalue(),
        )

    def _note_event_clocks(self, events: pl.DataFrame) -> None:
        clock = pl.min_horizontal("event_time", pl.col("timestamp").dt.epoch("s"))
        for partition, newest in events.group_by("partition").agg(clock.max()).iter_rows():
            self.partitions[partition].event_clock = newest


def executor_pass(plan: PassPlan) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function for ``mapInArrow`` over ``RECORD_COLUMNS``; yields one row of ``RESULT_SCHEMA``."""

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        one_pass = Pass(plan)
        for batch in batches:
            if batch.num_rows:
                one_pass.add(pl.DataFrame(pl.from_arrow(batch)))
        packed = msgspec.msgpack.encode(one_pass.result())
        yield pa.RecordBatch.from_pydict({"result": pa.array([packed], pa.binary())})

    return run


def unpack_results(packed: Iterable[bytes]) -> list[PassResult]:
    """What the passes of a micro-batch returned."""
    return [msgspec.msgpack.decode(row, type=PassResult) for row in packed]


def merge_totals(results: list[PassResult]) -> pl.DataFrame:
    """The summed totals of the passes of a micro-batch.

    Raises:
        OverflowError: a sum does not fit BIGINT.
    """
    parts = [result.totals_frame() for result in results] or [no_totals()]
    return sum_totals(pl.concat(parts))


def overflow_advice(problem: str, largest: LargestEvent | None) -> str:
    """The problem of a sum beyond BIGINT in one line, with the record to look at and what to do."""
    if largest is None:
        return problem
    return (
        f"{problem}; the largest event of the micro-batch, {largest.bytes} bytes, is in partition "
        f"{largest.partition} at offset {largest.offset}; nothing was committed. Reject it by hand with "
        f"--refuse-offsets {largest.partition}:{largest.offset}"
    )


def stage_events(storage: Storage, events: pl.DataFrame, plan: PassPlan) -> list[StagedFile]:
    """Stage accepted events (columns of ``Pass.accepted``), one file for each hour of their event time."""
    hour = pl.col("event_time") - pl.col("event_time") % HOUR_SECONDS
    staged = []
    for (start,), of_hour in events.group_by(hour.alias("hour"), maintain_order=True):
        table = of_hour.select(
            pl.from_epoch("event_time", time_unit="s")
            .dt.cast_time_unit("us")
            .dt.replace_time_zone("UTC")
            .alias("timestamp"),
            "id",
            "antenna_id",
            "bytes",
            "app",
            pl.lit(plan.topic).alias("topic"),
            "partition",
            "offset",
        ).to_arrow()
        total = int(of_hour["bytes"].cast(pl.Int128).sum())
        staged.append(
            storage.stage(
                [table],
                EVENTS,
                int(start),
                plan.epoch,
                _offsets(of_hour),
                total,
            )
        )
    return staged


def stage_rejects(storage: Storage, rejects: pl.DataFrame, plan: PassPlan) -> list[StagedFile]:
    """Stage rejected records (columns of ``Pass.rejected``), one file for each hour in which they came."""
    epoch_second = pl.col("timestamp").dt.epoch("s")
    staged = []
    for (start,), of_hour in rejects.group_by((epoch_second - epoch_second % HOUR_SECONDS).alias("hour")):
        table = of_hour.select(
            pl.lit(plan.topic).alias("topic"),
            "partition",
            "offset",
            pl.col("timestamp").dt.convert_time_zone("UTC").alias("kafka_timestamp"),
            "reason",
            "detail",
            "value",
        ).to_arrow()
        staged.append(storage.stage([table], REJECTED, int(start), plan.epoch, _offsets(of_hour), 0))
    return staged


def _offsets(records: pl.DataFrame) -> dict[int, tuple[int, int]]:
    spans = records.group_by("partition").agg(
        pl.col("offset").min().alias("first"), pl.col("offset").max().alias("last")
    )
    return {partition: (first, last) for partition, first, last in spans.iter_rows()}
