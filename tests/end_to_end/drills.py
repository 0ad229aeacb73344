"""What the tests on the DAGs of a running stack share."""

import time
from collections.abc import Callable
from datetime import datetime

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from antenna_airflow.defaults import TOPIC
from include.simulator.generator import Traffic
from include.simulator.ledger import Ledger
from include.simulator.producer import SimulationPlan, send

from .conftest import RunningStack as RunningStack


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> float:
    """Wait for a condition; returns how many seconds that took, fails the test after `seconds`."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.2)
    return time.monotonic() - started


def kafka_config(stack: RunningStack) -> dict[str, str | int | float | bool]:
    return {"bootstrap.servers": stack.env["ANTENNA_KAFKA_BOOTSTRAP_SERVERS"]}


def send_minute(stack: RunningStack, ledger: Ledger, start: datetime) -> None:
    """Send a minute of traffic, some of it broken or of unknown devices."""
    traffic = Traffic(seed=start.hour, events_per_second=10, broken_share=0.1, unknown_share=0.1)
    send(kafka_config(stack), TOPIC, SimulationPlan(traffic, start, minutes=1), ledger, stop=lambda: False)


def wait_until_consumed(stack: RunningStack, seconds: float = 60) -> float:
    """Wait until the stream has committed everything that is in the topic now; returns the seconds."""
    admin = AdminClient(kafka_config(stack))
    partitions = admin.list_topics(TOPIC, timeout=10).topics[TOPIC].partitions
    latest = {TopicPartition(TOPIC, partition): OffsetSpec.latest() for partition in partitions}
    ends = {place.partition: answer.result().offset for place, answer in admin.list_offsets(latest).items()}

    def consumed() -> bool:
        with stack.connect() as connection:
            rows = connection.execute(
                "SELECT partition, next_offset FROM ops.stream_offsets WHERE topic = %s", (TOPIC,)
            ).fetchall()
        reached: dict[int, int] = dict(rows)
        return all(reached.get(partition, -1) >= end for partition, end in ends.items())

    return wait_until(consumed, seconds, f"the stream consumed {ends}")
