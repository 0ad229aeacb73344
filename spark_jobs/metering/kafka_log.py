"""What the Kafka log holds: partitions and their first and end offsets, asked of the broker.

The admin client is the Java one that Spark's connector brings, so one set of options (SASL, TLS) serves
both.
"""

from typing import Any, Final, cast

from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]
from pyspark.sql import SparkSession

_TIMEOUT_MS: Final = 6_000


class KafkaError(Exception):
    """Kafka cannot be used as asked; the message says what to do."""


class KafkaAwayError(KafkaError):
    """Kafka does not answer; it may be back in a moment."""


class KafkaLog:
    """The log of one topic."""

    def __init__(
        self, spark: SparkSession, bootstrap_servers: str, topic: str, options: dict[str, str]
    ) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.topic = topic
        self._jvm = cast("Any", spark._jvm)
        settings = self._jvm.java.util.HashMap()
        for name, value in {
            **options,
            "bootstrap.servers": bootstrap_servers,
            "default.api.timeout.ms": str(_TIMEOUT_MS),
            "request.timeout.ms": str(_TIMEOUT_MS // 2),
        }.items():
            settings.put(name, value)
        try:
            self._admin = self._jvm.org.apache.kafka.clients.admin.AdminClient.create(settings)
        except Py4JJavaError as error:
            raise KafkaError(
                f"Kafka client for {bootstrap_servers} cannot be made: {_root_cause(error)}; "
                "check --kafka-bootstrap-servers and --kafka-options-file"
            ) from None
        except TypeError:
            raise KafkaError(
                "Spark's Kafka connector is not on the class path; give its jars to spark-submit with --jars"
            ) from None

    def partitions(self) -> list[int]:
        """The partitions of the topic.

        Raises:
            KafkaError: Kafka is unreachable or the topic is missing.
        """
        try:
            names = self._jvm.java.util.Collections.singletonList(self.topic)
            description = self._admin.describeTopics(names).allTopicNames().get().get(self.topic)
        except Py4JJavaError as error:
            raise self._explained(error) from None
        return sorted(info.partition() for info in description.partitions())

    def start_offsets(self, partitions: list[int]) -> dict[int, int]:
        """Partition -> the first offset that the log still holds. Raises KafkaError."""
        return self._offsets(partitions, self._jvm.org.apache.kafka.clients.admin.OffsetSpec.earliest())

    def end_offsets(self, partitions: list[int]) -> dict[int, int]:
        """Partition -> one past the last offset of the log. Raises KafkaError."""
        return self._offsets(partitions, self._jvm.org.apache.kafka.clients.admin.OffsetSpec.latest())

    def _offsets(self, partitions: list[int], spec: Any) -> dict[int, int]:
        topic_partition = self._jvm.org.apache.kafka.common.TopicPartition
        keys = {partition: topic_partition(self.topic, partition) for partition in partitions}
        request = self._jvm.java.util.HashMap()
        for key in keys.values():
            request.put(key, spec)
        try:
            found = self._admin.listOffsets(request).all().get()
        except Py4JJavaError as error:
            raise self._explained(error) from None
        return {partition: int(found.get(key).offset()) for partition, key in keys.items()}

    def _explained(self, error: Py4JJavaError) -> KafkaError:
        cause = _root_cause(error)
        if "UnknownTopicOrPartitionException" in cause:
            return KafkaError(
                f"topic {self.topic!r} does not exist on {self.bootstrap_servers}: not provisioned yet; "
                "run the DAG provision_schema first"
            )
        return KafkaAwayError(
            f"Kafka at {self.bootstrap_servers} does not answer: {cause}; "
            "check --kafka-bootstrap-servers and that the broker is running"
        )


def _root_cause(error: Py4JJavaError) -> str:
    cause = error.java_exception
    while cause.getCause() is not None:
        cause = cause.getCause()
    return str(cause.toString())
