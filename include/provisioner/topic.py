"""Creates the Kafka topic of the devices."""

import logging
from typing import Protocol

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

PARTITIONS = 4
BROKER_DEFAULT = -1
TIMEOUT_SECONDS = 15.0

logger = logging.getLogger(__name__)


class TopicError(Exception):
    """The topic cannot be created or read."""


class AdminHook(Protocol):
    """What is used of Airflow's KafkaAdminClientHook."""

    @property
    def get_conn(self) -> AdminClient:
        """The client of the connection."""

    def create_topic(self, topics: list[tuple[str, int, int]]) -> None:
        """Create (name, partitions, replication factor) each; an existing one is left as it is."""


def ensure_topic(hook: AdminHook, topic: str, partitions: int = PARTITIONS) -> int:
    """Create `topic` unless it exists, with the broker's default replication; return its partition count.

    An existing topic stays as it is; fewer partitions than `partitions` are warned of.
    Raises TopicError when Kafka cannot be reached or refuses.
    """
    try:
        if topic not in hook.get_conn.list_topics(timeout=TIMEOUT_SECONDS).topics:
            hook.create_topic([(topic, partitions, BROKER_DEFAULT)])
        found = len(hook.get_conn.list_topics(topic, timeout=TIMEOUT_SECONDS).topics[topic].partitions)
    except KafkaException as error:
        raise TopicError(
            f"Kafka cannot be asked for topic {topic}: {error.args[0].str()}. "
            "Check that Kafka runs and what the connection kafka_default says."
        ) from error
    if found < partitions:
        logger.warning(
            "Topic %s exists with %d partition(s), %d are wanted: the stream works, but reads with less "
            "parallelism. To widen it: kafka-topics --alter --topic %s --partitions %d",
            *(topic, found, partitions, topic, partitions),
        )
    return found
