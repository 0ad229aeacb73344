"""Every record that was sent to a topic, and what the archive and the rejected records must hold of it.

The verdict of a record is known from how it was made; where it stands is read from Kafka by a plain consumer.
"""

import json
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.dataset as pads
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from include.simulator.generator import Traffic, generate

READ_SECONDS = 30
PLACE = ("topic", "partition", "offset")
EVENTS = {
    "topic": pl.String,
    "partition": pl.Int32,
    "offset": pl.Int64,
    "timestamp": pl.Datetime("us", "UTC"),
    "id": pl.String,
    "antenna_id": pl.String,
    "bytes": pl.Int64,
    "app": pl.String,
}
REJECTED = {
    "topic": pl.String,
    "partition": pl.Int32,
    "offset": pl.Int64,
    "kafka_timestamp": pl.Datetime("ms", "UTC"),
    "reason": pl.String,
    "value": pl.Binary,
}


def end_offsets(bootstrap_servers: str, topic: str) -> dict[int, int]:
    """Partition -> one past its last record."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    partitions = admin.list_topics(topic, timeout=20).topics[topic].partitions
    request = {TopicPartition(topic, partition): OffsetSpec.latest() for partition in partitions}
    return {place.partition: answer.result().offset for place, answer in admin.list_offsets(request).items()}


class Sent:
    """What was sent to `topic`, told by `add` and `add_traffic`, and read back by `read_log`."""

    def __init__(self, bootstrap_servers: str, topic: str) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.topic = topic
        self._reasons: dict[bytes | None, str | None] = {}
        self._missing: Counter[bytes | None] = Counter()
        self._next: dict[int, int] = {}
        self._events: list[tuple[Any, ...]] = []
        self._rejected: list[tuple[Any, ...]] = []

    def add(self, value: bytes | None, reason: str | None) -> None:
        """One record; `reason` is why it must be rejected, None: it must be accepted."""
        known = self._reasons.setdefault(value, reason)
        assert known == reason, f"{value!r} cannot be {reason} and {known}"
        self._missing[value] += 1

    def add_traffic(self, traffic: Traffic, start: datetime, end: datetime) -> None:
        """The simulator's records of the event times start <= t < end."""
        block = generate(traffic, int(start.timestamp()), int(end.timestamp()))
        for position, line in enumerate(block.lines):
            self.add(line, block.rejected.get(position))

    def skip_to(self, partition: int, offset: int) -> None:
        """The records of a partition before this offset were not sent by way of `add`, and are gone."""
        self._next[partition] = offset

    def read_log(self) -> list[str]:
        """Read what has come to the log since; returns how it differs from what was sent."""
        problems = []
        for partition, end in end_offsets(self.bootstrap_servers, self.topic).items():
            if self._next.get(partition, 0) < end:
                self._read(partition, end)
        for value, count in self._missing.items():
            if count:
                problems.append(f"log: {value!r:.200} is in the topic {-count} times too often")
        self._missing = Counter()
        return problems

    def _read(self, partition: int, end: int) -> None:
        config = {"bootstrap.servers": self.bootstrap_servers, "group.id": "drill", "log_level": 0}
        more = {"enable.auto.commit": False, "auto.offset.reset": "error"}
        consumer = Consumer({**config, **more})
        try:
            consumer.assign([TopicPartition(self.topic, partition, self._next.get(partition, 0))])
            while (wanted := end - self._next.get(partition, 0)) > 0:
                messages = consumer.consume(min(wanted, 100_000), READ_SECONDS)
                assert messages, f"{wanted} records of partition {partition} cannot be read"
                for message in messages:
                    error = message.error()
                    assert error is None, f"partition {partition} cannot be read: {error and error.str()}"
                    self._take(partition, message)
        finally:
            consumer.close()

    def _take(self, partition: int, message: Any) -> None:
        value, offset = message.value(), message.offset()
        self._next[partition] = offset + 1
        self._missing[value] -= 1
        reason = self._reasons.get(value)
        if reason is not None:
            at = message.timestamp()[1]
            self._rejected.append((self.topic, partition, offset, at, reason, value))
        elif value is not None:
            event = json.loads(value)
            second = event["timestamp"] if "timestamp" in event else event["timestmap"]
            fields = event["id"], event["antenna_id"], event["bytes"], event["app"]
            self._events.append((self.topic, partition, offset, second * 1_000_000, *fields))

    def archive_differences(self, storage: Path) -> list[str]:
        """How the archive's files differ from the accepted records, row for row."""
        return _differences("archive", _frame(self._events, EVENTS), read_folder(storage / "events", EVENTS))

    def rejected_differences(self, storage: Path) -> list[str]:
        """How the files of rejected records differ from what must be rejected, row for row."""
        expected = _frame(self._rejected, REJECTED)
        return _differences("rejected", expected, read_folder(storage / "rejected", REJECTED))


def read_folder(folder: Path, schema: dict[str, Any]) -> pl.DataFrame:
    """Every row of a folder, as a plain Parquet reader that knows nothing of the project sees it."""
    if not folder.exists() or not any(folder.rglob("*.parquet")):
        return pl.DataFrame(schema=schema)
    table = pads.dataset(folder, format="parquet", partitioning=None).to_table()
    return pl.DataFrame(pl.from_arrow(table)).select(pl.col(name).cast(kind) for name, kind in schema.items())


def _frame(rows: list[tuple[Any, ...]], schema: dict[str, Any]) -> pl.DataFrame:
    plain = {name: pl.Int64 if isinstance(kind, pl.Datetime) else kind for name, kind in schema.items()}
    return pl.DataFrame(rows, schema=plain, orient="row").select(
        pl.col(name).cast(kind) for name, kind in schema.items()
    )


def _differences(name: str, expected: pl.DataFrame, actual: pl.DataFrame) -> list[str]:
    columns = expected.columns
    missing = expected.join(actual, on=columns, how="anti", nulls_equal=True)
    surplus = actual.join(expected, on=columns, how="anti", nulls_equal=True)
    twice = actual.filter(pl.struct(PLACE).is_duplicated())
    return [
        f"{name}: {what}: {row!r:.300}"
        for what, rows in (("missing", missing), ("not expected", surplus), ("more than once", twice))
        for row in rows.iter_rows()
    ]
