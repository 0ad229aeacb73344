"""One micro-batch from Kafka records to a commit: executors do the work, the driver only commits."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import TypeVar

import polars as pl
import psycopg
from pyspark.sql import DataFrame

from metering import logs
from metering.archive import Storage, StorageError
from metering.commits import Advance, MicroBatch, OffsetConflictError, StreamStore, SupersededError
from metering.events import INT64_MAX, Limits
from metering.executor_pass import (
    RECORD_COLUMNS,
    RESULT_SCHEMA,
    LargestEvent,
    OffsetRange,
    PartitionSpan,
    PassPlan,
    PassResult,
    executor_pass,
    merge_totals,
    overflow_advice,
    unpack_results,
)
from metering.kafka_log import KafkaAwayError, KafkaLog
from metering.offsets import advances, tell_lost
from metering.telemetry import StreamMetrics

# Below this lag one task takes the whole micro-batch: fewer and larger files, and less to start.
SMALL_BATCH_RECORDS = 50_000
# Each question waits for some seconds by itself.
KAFKA_OUTAGE_SECONDS = 30

Answer = TypeVar("Answer")


@dataclass
class Progress:
    """What a driver has committed since its start; ``committed_at`` on this machine's monotonic clock."""

    accepted: int = 0
    rejected: int = 0
    committed_at: float | None = None


class MicroBatchWriter:
    """The function for ``foreachBatch``; ``committing`` is held while a transaction may be open."""

    def __init__(
        self,
        store: StreamStore,
        log: KafkaLog,
        storage: Storage,
        max_future: int,
        max_lateness: int | None,
        refused: list[OffsetRange],
        metrics: StreamMetrics,
    ) -> None:
        self.store = store
        self.log = log
        self.storage = storage
        self.max_future = max_future
        self.max_lateness = max_lateness
        self.refused = refused
        self.metrics = metrics
        self.committing = Lock()
        self.progress = Progress()
        self.failure: Exception | None = None

    def __call__(self, records: DataFrame, _batch_id: int) -> None:
        """Apply the records (Kafka source columns) once, whatever was applied of them before."""
        try:
            self._write(records)
        except Exception as error:
            # Spark reports a failed micro-batch with the stack of its callback; the job wants the cause.
            self.failure = error
            raise

    def _write(self, records: DataFrame) -> None:
        started = time.monotonic()
        plan = self._plan()
        passes = records.select(*RECORD_COLUMNS)
        ends = self._ask(lambda: self.log.end_offsets(list(plan.next_offsets)))
        lag = sum(ends[partition] - offset for partition, offset in plan.next_offsets.items())
        if lag < SMALL_BATCH_RECORDS:
            passes = passes.coalesce(1)
        rows = passes.mapInArrow(executor_pass(plan), RESULT_SCHEMA).collect()
        results = unpack_results(bytes(row.result) for row in rows)
        steps = self._advances(plan, results, ends)
        batch = MicroBatch(
            advances=steps,
            totals=self._merge_totals(results),
            files=[file for result in results for file in result.files],
            accepted=sum(result.accepted for result in results),
            rejected=_sum_counts(results),
            newest_event_time=max(
                (r.newest_event_time for r in results if r.newest_event_time is not None), default=None
            ),
            executor_ms=round((time.monotonic() - started) * 1000),
        )
        if not steps:
            self.storage.withdraw(batch.files)
            return
        self._commit(batch, _largest(results))

    def _merge_totals(self, results: list[PassResult]) -> pl.DataFrame:
        try:
            return merge_totals(results)
        except OverflowError as error:
            self.storage.withdraw(file for result in results for file in result.files)
            raise OverflowError(overflow_advice(str(error), _largest(results))) from None

    def _ask(self, question: Callable[[], Answer]) -> Answer:
        """Ask Kafka, again while it is away: a broker that restarts is waited for."""
        deadline = time.monotonic() + KAFKA_OUTAGE_SECONDS
        while True:
            try:
                return question()
            except KafkaAwayError as error:
                if time.monotonic() > deadline:
                    raise
                logs.info(f"waiting for Kafka: {error}")

    def _plan(self) -> PassPlan:
        now = int(time.time())
        partitions = self._ask(self.log.partitions)
        offsets = self.store.next_offsets()
        if new := [partition for partition in partitions if partition not in offsets]:
            self.store.add_partitions(self._ask(lambda: self.log.start_offsets(new)))
            offsets = self.store.next_offsets()
        oldest = None if self.max_lateness is None else now - self.max_lateness
        limits = Limits(newest=now + self.max_future, oldest=oldest)
        return PassPlan(
            self.storage.storage_path, self.store.topic, self.store.epoch, offsets, limits, self.refused
        )

    def _advances(self, plan: PassPlan, results: list[PassResult], ends: dict[int, int]) -> list[Advance]:
        spans: dict[int, list[PartitionSpan]] = {}
        for result in results:
            for partition, span in result.partitions.items():
                spans.setdefault(partition, []).append(span)
        # Gaps may have come of retention; a partition of which nothing came may have lost all that it held.
        asked = [partition for partition, seen in spans.items() if any(span.gaps for span in seen)] + [
            partition
            for partition, expected in plan.next_offsets.items()
            if partition not in spans and ends[partition] > expected
        ]
        log_starts = self._ask(lambda: self.log.start_offsets(asked)) if asked else {}
        return advances(plan.next_offsets, spans, log_starts)

    def _commit(self, batch: MicroBatch, largest: LargestEvent | None) -> None:
        with self.committing:
            started = time.monotonic()
            try:
                commit_id = self.store.commit(batch, self.storage.publish)
            except psycopg.OperationalError:
                # It is not known whether PostgreSQL committed: the files stay, and the next driver
                # removes them if the manifest does not name them.
                raise
            except psycopg.errors.NumericValueOutOfRange:
                self.storage.withdraw(batch.files)
                problem = f"a sum of bytes would be greater than {INT64_MAX}, the largest BIGINT"
                raise OverflowError(overflow_advice(problem, largest)) from None
            except (SupersededError, OffsetConflictError, StorageError, psycopg.Error, OSError):
                self.storage.withdraw(batch.files)
                raise
        tell_lost(self.store.topic, batch.advances)
        self._tell(batch, commit_id, time.monotonic() - started)
        self.progress.accepted += batch.accepted
        self.progress.rejected += sum(batch.rejected.values())
        self.progress.committed_at = time.monotonic()

    def _tell(self, batch: MicroBatch, commit_id: int, commit_seconds: float) -> None:
        total_bytes = sum(file.total_bytes for file in batch.files)
        logs.debug(
            "committed a micro-batch",
            commit_id=commit_id,
            offsets={step.partition: [step.expected_offset, step.next_offset] for step in batch.advances},
            accepted=batch.accepted,
            rejected=batch.rejected,
            bytes=total_bytes,
            files=len(batch.files),
            executor_ms=batch.executor_ms,
            commit_ms=round(commit_seconds * 1000),
        )
        self.metrics.committed(
            batch.accepted,
            batch.rejected,
            total_bytes,
            commit_seconds=commit_seconds,
            pass_seconds=batch.executor_ms / 1000,
            newest_event_time=batch.newest_event_time,
        )


def _largest(results: list[PassResult]) -> LargestEvent | None:
    return max((result.largest for result in results if result.largest is not None), default=None)


def _sum_counts(results: list[PassResult]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for result in results:
        for reason, count in result.rejected.items():
            counts[reason] = counts.get(reason, 0) + count
    return counts
