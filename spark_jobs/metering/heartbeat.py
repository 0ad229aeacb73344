"""The driver's heartbeat: it reports lag and health every two seconds, and ends a driver that hangs."""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg

from metering import logs
from metering.database import DatabaseError, connect
from metering.failures import say_last
from metering.kafka_log import KafkaError, KafkaLog
from metering.micro_batch import Progress
from metering.telemetry import StreamMetrics

INTERVAL_SECONDS: Final = 2.0
PROGRESS_EVERY_SECONDS: Final = 10.0
EXIT_SUPERSEDED: Final = 3
EXIT_HUNG: Final = 4

_LOST: Final = """
SELECT coalesce(sum(last_offset - first_offset + 1), 0)::bigint
FROM ops.lost_offsets
WHERE topic = %(topic)s AND acknowledged_at IS NULL
"""
_BEAT: Final = "UPDATE ops.streams SET heartbeat_at = now() WHERE topic = %(topic)s AND epoch = %(epoch)s"
_LAG: Final = """
UPDATE ops.stream_offsets AS committed
SET log_end_offset = seen.log_end_offset,
    caught_up_at = CASE
        WHEN greatest(committed.next_offset, seen.position) >= seen.log_end_offset
            -- A clock of the driver that is ahead must not seal an hour.
            THEN greatest(committed.caught_up_at, least(to_timestamp(%(seen_at)s), now()))
        ELSE committed.caught_up_at
    END
FROM ops.streams AS stream, unnest(%(partitions)s::int [], %(ends)s::bigint [], %(positions)s::bigint [])
    AS seen (partition, log_end_offset, position)
WHERE stream.topic = %(topic)s AND stream.epoch = %(epoch)s
    AND committed.topic = stream.topic AND committed.partition = seen.partition
RETURNING greatest(seen.log_end_offset - greatest(committed.next_offset, seen.position), 0)
"""
_LAG_OF_MINUTE: Final = """
INSERT INTO ops.stream_lag AS kept (topic, minute, lag)
SELECT topic, date_trunc('minute', now()), %(lag)s FROM ops.streams
WHERE topic = %(topic)s AND epoch = %(epoch)s
ON CONFLICT (topic, minute) DO UPDATE SET lag = greatest(kept.lag, EXCLUDED.lag)
"""


@dataclass
class Heartbeat:
    """Beats in a thread of its own until ``stop`` is called.

    ``positions`` gives, per partition, the offset up to which Spark has completed micro-batches; it is
    ahead of the committed offset where the log ends in transaction markers, which are no records.
    ``end_driver`` is called with an exit code and a message when the driver is superseded or hangs.
    """

    dsn: str
    topic: str
    epoch: int
    log: KafkaLog
    positions: Callable[[], dict[int, int]]
    progress: Progress
    hang_timeout: int
    end_driver: Callable[[int, str], None]
    metrics: StreamMetrics
    _stopped: threading.Event = field(default_factory=threading.Event)
    _connection: psycopg.Connection[Any] | None = None
    _lag: int = 0
    _lost: int = 0
    _no_lag_at: float = field(default_factory=time.monotonic)
    # The first line comes with the first heartbeat.
    _told_at: float = field(default_factory=lambda: time.monotonic() - PROGRESS_EVERY_SECONDS)
    _told_records: int = 0

    def start(self) -> None:
        """Begin to beat."""
        threading.Thread(target=self._run, name="heartbeat", daemon=True).start()

    def stop(self) -> None:
        """Beat no more."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(INTERVAL_SECONDS):
            try:
                self._beat()
                self._measure_lag()
            except (psycopg.Error, DatabaseError) as error:
                logs.error(f"heartbeat: {str(error).strip()}")
                self._connection = None
            except KafkaError as error:
                logs.error(f"heartbeat: {error}")
            if self._stopped.is_set():
                return
            self._tell_progress()
            idle = time.monotonic() - max(self._no_lag_at, self.progress.committed_at or 0.0)
            if idle > self.hang_timeout:
                self.end_driver(
                    EXIT_HUNG,
                    f"hung: lag of {self._lag} records and nothing committed for {idle:.0f} s; "
                    "ending so that it is replaced",
                )

    def _beat(self) -> None:
        # The heartbeat says that this process lives, whether or not Kafka answers.
        if self._connection is None:
            self._connection = connect(self.dsn, statement_timeout="10s")
        if self._connection.execute(_BEAT, {"topic": self.topic, "epoch": self.epoch}).rowcount == 0:
            self.end_driver(
                EXIT_SUPERSEDED,
                f"a newer driver meters topic {self.topic}; this one (epoch {self.epoch}) ends",
            )

    def _measure_lag(self) -> None:
        assert self._connection is not None
        partitions = self.log.partitions()
        seen_at = time.time()
        ends = self.log.end_offsets(partitions)
        positions = self.positions()
        lags = self._connection.execute(
            _LAG,
            {
                "topic": self.topic,
                "epoch": self.epoch,
                "seen_at": seen_at,
                "partitions": partitions,
                "ends": [ends[partition] for partition in partitions],
                "positions": [positions.get(partition, 0) for partition in partitions],
            },
        ).fetchall()
        self._lag = sum(int(lag) for (lag,) in lags)
        self.metrics.lag(self._lag)
        self._connection.execute(_LAG_OF_MINUTE, {"topic": self.topic, "epoch": self.epoch, "lag": self._lag})
        if self._lag == 0 and len(lags) == len(partitions):
            self._no_lag_at = time.monotonic()
        lost = self._connection.execute(_LOST, {"topic": self.topic}).fetchone()
        self._lost = int(lost[0]) if lost else 0

    def _tell_progress(self) -> None:
        now = time.monotonic()
        seconds = now - self._told_at
        if seconds < PROGRESS_EVERY_SECONDS:
            return
        progress = self.progress
        records = progress.accepted + progress.rejected
        last = "none yet" if progress.committed_at is None else f"{now - progress.committed_at:.1f} s ago"
        logs.info(
            f"stream: {(records - self._told_records) / seconds:,.0f} events/s, lag {self._lag:,} records, "
            f"last commit {last}, {progress.accepted:,} accepted and {progress.rejected:,} rejected since "
            f"start (epoch {self.epoch})",
            lag=self._lag,
        )
        if self._lost:
            logs.error(
                f"ALARM: {self._lost:,} records of topic {self.topic!r} were removed from Kafka before they "
                "were read; see ops.lost_offsets and docs/guarantees.md",
                lost_records=self._lost,
            )
        self._told_at, self._told_records = now, records


def end_process(code: int, message: str) -> None:
    """End this process at once, whatever its threads wait for; exactness never leans on a clean end."""
    say_last(message)
    os._exit(code)
