"""The simulator's view of one Kafka topic: send lines to it, and read back what arrived."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

CONNECT_SECONDS: Final = 15
REQUEST_SECONDS: Final = 5
DELIVERY_SECONDS: Final = 300
STOP_SECONDS: Final = 10
READ_SECONDS: Final = 60
POLL_SECONDS: Final = 0.2
WARN_EVERY_SECONDS: Final = 15

PRODUCER_CONFIG: Final[Mapping[str, Any]] = {
    "enable.idempotence": True,
    "compression.type": "lz4",
    "linger.ms": 5,
    "message.timeout.ms": DELIVERY_SECONDS * 1000,
    # Senders bound what they hand over at a time; the queue takes it whole.
    "queue.buffering.max.messages": 0,
    "queue.buffering.max.kbytes": 2_097_151,
    "delivery.report.only.error": True,
}
CONSUMER_CONFIG: Final[Mapping[str, Any]] = {
    "group.id": "simulator",
    "enable.auto.commit": False,
    "auto.offset.reset": "error",
    "enable.partition.eof": True,
}

logger = logging.getLogger(__name__)


class KafkaSendError(Exception):
    """Kafka cannot be reached, or did not take everything; names the address, what is wrong and the fix."""


class KafkaTopic:
    """Sends to and reads from one existing topic.

    Args:
        config: librdkafka settings, at least ``bootstrap.servers``; SASL and TLS settings pass through.
        name: the topic.

    Raises:
        KafkaSendError: Kafka cannot be reached, the settings are wrong, or the topic does not exist.
    """

    def __init__(self, config: Mapping[str, Any], name: str) -> None:
        self.name = name
        self.address = str(config.get("bootstrap.servers") or "")
        if not self.address:
            raise KafkaSendError("bootstrap.servers is not set; give the address of Kafka as host:port")
        # The settings of a consumer group, which a shared connection carries, are not for producers.
        # log_level 0: what goes wrong comes by error_cb, not on stderr.
        self._config = {key: value for key, value in config.items() if key != "group.id"} | {"log_level": 0}
        self._failures: list[KafkaError] = []
        self._last_error = "no answer"
        self._warned_at = 0.0
        callbacks = {"error_cb": self._on_error, "on_delivery": self._on_delivery}
        try:
            self._producer = Producer({**self._config, **PRODUCER_CONFIG, **callbacks})
            self._admin = AdminClient(self._config)
        except KafkaException as error:
            raise KafkaSendError(f"a Kafka setting is wrong: {error.args[0].str()}; correct it") from error
        self.partitions = self._find_partitions()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Whatever is still queued has been reported as not delivered.
        self._producer.purge()
        self._producer.flush(STOP_SECONDS)

    def _find_partitions(self) -> list[int]:
        # Asking for all topics, not for this one: a broker may create a topic that is asked for.
        try:
            topics = self._producer.list_topics(timeout=CONNECT_SECONDS).topics
        except KafkaException as error:
            self._producer.poll(0)
            raise self._unreachable(error) from error
        if self.name not in topics or not topics[self.name].partitions:
            raise KafkaSendError(
                f"topic {self.name!r} does not exist on Kafka at {self.address}; "
                "run the DAG provision_schema, or correct the topic's name"
            )
        return sorted(topics[self.name].partitions)

    def send(self, lines: Sequence[bytes | None], first_partition: int) -> None:
        """Queue the lines, dealt out to all partitions in turn from ``first_partition``, modulo their number.

        Raises:
            KafkaSendError: a line cannot be queued (too large, or the producer has failed for good).
        """
        count = len(self.partitions)
        for position in range(count):
            partition = self.partitions[(first_partition + position) % count]
            messages: list[dict[str, Any]] = [{"value": line} for line in lines[position::count]]
            try:
                queued = self._producer.produce_batch(self.name, messages, partition=partition)
            except (BufferError, KafkaException) as error:
                raise KafkaSendError(f"Kafka at {self.address} takes no more events: {error}") from error
            if queued < len(messages):
                reason = next(message["_error"] for message in messages if "_error" in message)
                raise KafkaSendError(
                    f"{len(messages) - queued} events cannot be sent to topic {self.name!r}: {reason}"
                )
            self._producer.poll(0)

    def flush(self, stop: Callable[[], bool]) -> None:
        """Wait until Kafka has everything that was queued; once ``stop`` says so, for a few seconds more.

        Raises:
            KafkaSendError: some events were not delivered in time, or stopped before they were.
        """
        give_up_at = float("inf")
        while self._producer.flush(POLL_SECONDS) and not self._failures and time.monotonic() < give_up_at:
            if give_up_at == float("inf") and stop():
                give_up_at = time.monotonic() + STOP_SECONDS
        undelivered = len(self._failures) + len(self._producer)
        if undelivered:
            reason = self._failures[0].str() if self._failures else self._last_error
            raise KafkaSendError(
                f"{undelivered} events were not delivered to Kafka at {self.address}: {reason}; "
                "start Kafka, then the simulator again"
            )

    def end_offsets(self, stop: Callable[[], bool]) -> dict[int, int]:
        """The offset after the last record, by partition; waits for a Kafka that is away for a while.

        Raises:
            KafkaSendError: Kafka stays away, or is away when ``stop`` says so.
        """
        request = {TopicPartition(self.name, partition): OffsetSpec.latest() for partition in self.partitions}
        give_up_at = time.monotonic() + DELIVERY_SECONDS
        while True:
            try:
                answers = self._admin.list_offsets(request, request_timeout=REQUEST_SECONDS)
                return {where.partition: answer.result().offset for where, answer in answers.items()}
            except KafkaException as error:
                self._producer.poll(POLL_SECONDS)
                if stop() or time.monotonic() > give_up_at:
                    raise self._unreachable(error) from error
                # A client keeps the leader epoch that it knows, and a restarted broker refuses it for ever.
                self._admin = AdminClient(self._config)

    def count(
        self, values: Iterable[bytes | None], start: Mapping[int, int], end: Mapping[int, int]
    ) -> Counter[bytes | None]:
        """How often each of these values stands in the topic from the start offsets up to the end offsets.

        Raises:
            KafkaSendError: Kafka cannot be reached, or retention has removed records of that span.
        """
        wanted = {partition for partition in start if start[partition] < end[partition]}
        found: Counter[bytes | None] = Counter(dict.fromkeys(values, 0))
        consumer = Consumer({**self._config, **CONSUMER_CONFIG, "error_cb": self._on_error})
        try:
            consumer.assign([TopicPartition(self.name, partition, start[partition]) for partition in wanted])
            give_up_at = time.monotonic() + READ_SECONDS
            while wanted:
                for message in consumer.consume(10_000, POLL_SECONDS):
                    give_up_at = time.monotonic() + READ_SECONDS
                    self._take(message, end, wanted, found)
                if time.monotonic() > give_up_at:
                    raise self._unreachable(None)
        finally:
            consumer.close()
        return found

    def _take(
        self, message: Message, end: Mapping[int, int], wanted: set[int], found: Counter[bytes | None]
    ) -> None:
        partition, offset, error = message.partition(), message.offset(), message.error()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            raise KafkaSendError(
                f"topic {self.name!r} cannot be read back: {error.str()}; if its records were removed, "
                "begin with a new ledger"
            )
        assert partition is not None
        assert offset is not None
        if error is None and offset < end[partition] and message.value() in found:
            found[message.value()] += 1
        # The end of the partition is told apart, since its last record may be a transaction's marker.
        if error is not None or offset + 1 >= end[partition]:
            wanted.discard(partition)

    def _unreachable(self, error: KafkaException | None) -> KafkaSendError:
        reason = self._last_error if error is None else f"{error.args[0].str()} ({self._last_error})"
        return KafkaSendError(
            f"Kafka at {self.address} cannot be reached: {reason}; start it, or correct the address"
        )

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failures.append(error)

    def _on_error(self, error: KafkaError) -> None:
        # "All brokers are down" would hide why.
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            return
        self._last_error = error.str()
        if time.monotonic() - self._warned_at > WARN_EVERY_SECONDS:
            self._warned_at = time.monotonic()
            logger.warning("Kafka at %s: %s", self.address, self._last_error)
