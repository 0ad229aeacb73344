"""The topic on a real Kafka, by way of Airflow's Kafka hook."""

import json
import logging
from collections.abc import Callable

import pytest
from airflow.providers.apache.kafka.hooks.client import KafkaAdminClientHook
from confluent_kafka.admin import AdminClient, NewTopic

from include.local_stack.kafka import Kafka
from include.local_stack.settings import free_port
from include.provisioner.topic import TopicError, ensure_topic


@pytest.fixture
def hook_to(monkeypatch: pytest.MonkeyPatch) -> Callable[..., KafkaAdminClientHook]:
    def make(bootstrap_servers: str, **settings: object) -> KafkaAdminClientHook:
        extra = {"bootstrap.servers": bootstrap_servers, **settings}
        connection = json.dumps({"conn_type": "kafka", "extra": extra})
        monkeypatch.setenv("AIRFLOW_CONN_KAFKA_DEFAULT", connection)
        return KafkaAdminClientHook("kafka_default")

    return make


def test_creates_the_topic_once(kafka: Kafka, hook_to: Callable[..., KafkaAdminClientHook]) -> None:
    hook = hook_to(kafka.bootstrap_servers)
    assert ensure_topic(hook, "provisioned") == 4
    assert ensure_topic(hook, "provisioned") == 4
    topic = (
        AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
        .list_topics("provisioned")
        .topics["provisioned"]
    )
    assert sorted(topic.partitions) == [0, 1, 2, 3]


def test_existing_topic_with_fewer_partitions_is_kept_and_warned_of(
    kafka: Kafka, hook_to: Callable[..., KafkaAdminClientHook], caplog: pytest.LogCaptureFixture
) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    admin.create_topics([NewTopic("narrow", 1, 1)])["narrow"].result()
    with caplog.at_level(logging.WARNING):
        assert ensure_topic(hook_to(kafka.bootstrap_servers), "narrow") == 1
    assert "Topic narrow exists with 1 partition(s), 4 are wanted" in caplog.text
    assert "kafka-topics --alter --topic narrow --partitions 4" in caplog.text


def test_kafka_away_is_a_clear_error(
    hook_to: Callable[..., KafkaAdminClientHook], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("include.provisioner.topic.TIMEOUT_SECONDS", 1.0)
    hook = hook_to(f"127.0.0.1:{free_port()}", log_level=0)
    with pytest.raises(
        TopicError, match=r"Kafka cannot be asked for topic devices: .*connection kafka_default"
    ):
        ensure_topic(hook, "devices")
