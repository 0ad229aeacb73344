"""The stream's truth in PostgreSQL: sums, offsets, manifest and progress, advanced by one transaction.

A micro-batch is committed once or not at all. Its transaction holds the row of the topic in
``ops.streams``, so a starting driver, which bumps the epoch there, waits for it or shuts it out; and
the offsets only advance from the very values that the micro-batch started from.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import polars as pl
import psycopg

from metering import logs, statements
from metering.archive import MAINTENANCE_EPOCH, StagedFile, Storage
from metering.database import connect, table_name
from metering.leftovers import sweep
from metering.locks import MAINTENANCE_LOCK, held_if_free

# PostgreSQL ends the transaction of a driver that freezes inside it, so that its successor need not wait.
_FROZEN_AFTER: Final = "15s"

Result = TypeVar("Result")


class SupersededError(Exception):
    """A newer driver has taken over the topic; this one must end."""


class OffsetConflictError(Exception):
    """The committed offsets are not those that the micro-batch started from."""


@dataclass(frozen=True)
class Advance:
    """How a Kafka partition advances; ``event_clock`` in epoch seconds, ``lost`` half-open offset ranges."""

    partition: int
    expected_offset: int
    next_offset: int
    event_clock: int | None = None
    lost: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class MicroBatch:
    """Everything that one transaction applies; ``totals`` has ``window``, ``type``, ``id``, ``value``."""

    advances: list[Advance]
    totals: pl.DataFrame
    files: list[StagedFile]
    accepted: int
    rejected: dict[str, int]
    newest_event_time: int | None
    executor_ms: int


class StreamStore:
    """The committed state of one topic, for one driver (epoch)."""

    def __init__(self, dsn: str, topic: str, bytes_table: str, *, wait_seconds: float = 30.0) -> None:
        self.dsn = dsn
        self.topic = topic
        self.bytes_table = table_name(bytes_table)
        self.wait_seconds = wait_seconds
        self.epoch = 0
        self._connection = self._connect()

    def _connect(self) -> psycopg.Connection[Any]:
        connection = connect(
            self.dsn,
            wait_seconds=self.wait_seconds,
            idle_in_transaction_session_timeout=_FROZEN_AFTER,
            lock_timeout="60s",
        )
        if connection.info.server_version >= 170_000:
            # The same for one that freezes in the middle of a COPY; older servers know no such limit.
            connection.execute("SET transaction_timeout = '120s'")
        statements.prepare_totals(connection)
        return connection

    def open_epoch(self, host: str, pid: int, spark_ui_url: str | None) -> int:
        """Take over the topic: from now on no older driver can commit. Returns the new epoch."""
        row = self._connection.execute(
            """
            INSERT INTO ops.streams AS stream
                (topic, epoch, state, driver_host, driver_pid, spark_ui_url, started_at, heartbeat_at)
            VALUES (%(topic)s, 1, 'running', %(host)s, %(pid)s, %(url)s, now(), now())
            ON CONFLICT (topic) DO UPDATE SET
                epoch = stream.epoch + 1, state = 'running', message = '', driver_host = EXCLUDED.driver_host,
                driver_pid = EXCLUDED.driver_pid, spark_ui_url = EXCLUDED.spark_ui_url,
                started_at = now(), heartbeat_at = now()
            RETURNING epoch
            """,
            {"topic": self.topic, "host": host, "pid": pid, "url": spark_ui_url},
        ).fetchone()
        self.epoch = int(row[0])  # type: ignore[index]
        return self.epoch

    def close_epoch(self, state: str, message: str) -> None:
        """Record how this driver ended (``stopped`` or ``failed``), unless a newer one has taken over."""
        with connect(self.dsn) as connection:
            connection.execute(
                "UPDATE ops.streams SET state = %s, message = %s WHERE topic = %s AND epoch = %s",
                (state, message, self.topic, self.epoch),
            )

    def next_offsets(self) -> dict[int, int]:
        """Partition -> committed next offset: every record below it has been applied."""
        return self._reconnecting(self._next_offsets)

    def _next_offsets(self) -> dict[int, int]:
        rows = self._connection.execute(
            "SELECT partition, next_offset FROM ops.stream_offsets WHERE topic = %s", (self.topic,)
        ).fetchall()
        return {int(partition): int(offset) for partition, offset in rows}

    def add_partitions(self, log_starts: dict[int, int]) -> None:
        """Begin to count partitions that are not known yet, each from the start of its log."""
        with self._connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO ops.stream_offsets (topic, partition, next_offset, log_end_offset) "
                "VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
                [(self.topic, partition, start, start) for partition, start in log_starts.items()],
            )

    def manifest(self) -> set[str]:
        """The paths, relative to the storage path, of all files that are part of the archive."""
        return statements.manifest_paths(self._connection)

    def sweep(self, storage: Storage) -> list[str]:
        """Remove the files that older drivers left, and, unless it is at work, those that maintenance left.

        Only when this driver has opened its epoch and staged nothing yet. Returns the removed paths.
        """
        with held_if_free(self._connection, MAINTENANCE_LOCK) as no_maintenance:

            def is_dead(epoch: int | None) -> bool:
                if epoch == MAINTENANCE_EPOCH:
                    return no_maintenance
                return epoch is None or epoch < self.epoch

            return sweep(storage, self.manifest, is_dead)

    def commit(self, batch: MicroBatch, publish: Callable[[Iterable[StagedFile]], None]) -> int:
        """Apply a micro-batch once; returns its commit id.

        ``publish`` moves its files to their final names; it is called inside the transaction, when it
        is certain that no other driver owns the topic. A lost connection is tried again, after looking
        whether PostgreSQL had committed all the same.

        Raises:
            SupersededError: a newer driver owns the topic; nothing is changed.
            OffsetConflictError: the offsets were advanced by somebody else; nothing is changed.
            psycopg.Error: PostgreSQL refused (a sum beyond BIGINT, say) or stayed away; nothing is changed.
        """
        commit_id: int | None = None

        def attempt() -> int:
            nonlocal commit_id
            if commit_id is not None and self._is_committed(commit_id):
                return commit_id
            with self._connection.transaction():
                self._own_topic()
                commit_id = statements.insert_micro_batch(
                    self._connection,
                    self.topic,
                    self.epoch,
                    accepted=batch.accepted,
                    rejected=batch.rejected,
                    newest_event_time=batch.newest_event_time,
                    executor_ms=batch.executor_ms,
                )
                self._connection.execute(
                    "UPDATE ops.streams SET last_commit_at = now() WHERE topic = %s", (self.topic,)
                )
                publish(batch.files)
                self._advance_offsets(batch.advances)
                statements.add_totals(self._connection, self.bytes_table, batch.totals)
                statements.insert_files(self._connection, batch.files, commit_id)
            return commit_id

        return self._reconnecting(attempt)

    def _reconnecting(self, work: Callable[[], Result]) -> Result:
        """Do the work, again on a new connection where one was lost, for ``wait_seconds`` at most."""
        deadline = time.monotonic() + self.wait_seconds
        while True:
            try:
                return work()
            except psycopg.OperationalError as error:
                if not self._connection.closed or time.monotonic() > deadline:
                    raise
                logs.info(f"connection to PostgreSQL lost ({str(error).strip()}); connecting again")
                self._connection = self._connect()

    def _is_committed(self, commit_id: int) -> bool:
        found = self._connection.execute(
            "SELECT 1 FROM ops.micro_batches WHERE commit_id = %s AND epoch = %s", (commit_id, self.epoch)
        )
        return found.fetchone() is not None

    def _own_topic(self) -> None:
        epoch = statements.lock_topic(self._connection, self.topic)
        if epoch != self.epoch:
            raise SupersededError(
                f"a newer driver (epoch {epoch}) meters topic {self.topic}; "
                f"this one (epoch {self.epoch}) commits nothing more and ends"
            )

    def _advance_offsets(self, advances: list[Advance]) -> None:
        advanced = self._connection.execute(
            """
            UPDATE ops.stream_offsets AS committed
            SET next_offset = batch.next_offset,
                log_end_offset = greatest(committed.log_end_offset, batch.next_offset),
                event_clock = greatest(committed.event_clock, to_timestamp(batch.event_clock))
            FROM
                unnest(
                    %(partitions)s::int[], %(expected)s::bigint[],
                    %(following)s::bigint[], %(clocks)s::bigint[]
                )
                AS batch (partition, expected_offset, next_offset, event_clock)
            WHERE committed.topic = %(topic)s
                AND committed.partition = batch.partition
                AND committed.next_offset = batch.expected_offset
            """,
            {
                "topic": self.topic,
                "partitions": [advance.partition for advance in advances],
                "expected": [advance.expected_offset for advance in advances],
                "following": [advance.next_offset for advance in advances],
                "clocks": [advance.event_clock for advance in advances],
            },
        ).rowcount
        if advanced != len(advances):
            raise OffsetConflictError(
                f"committed offsets of topic {self.topic} are {self._next_offsets()}, "
                f"but this micro-batch started from {[(a.partition, a.expected_offset) for a in advances]}"
            )
        lost = [(self.topic, a.partition, first, end - 1) for a in advances for first, end in a.lost]
        if lost:
            with self._connection.cursor() as cursor:
                cursor.executemany(
                    "INSERT INTO ops.lost_offsets (topic, partition, first_offset, last_offset) "
                    "VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
                    lost,
                )
