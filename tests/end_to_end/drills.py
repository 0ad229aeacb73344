"""What the drills on the DAGs of a running stack share."""

import time
from collections.abc import Callable
from datetime import datetime

import psutil
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


class Driver:
    """The streaming driver that holds the stream now, with every process that was started with it."""

    def __init__(self, stack: RunningStack) -> None:
        self._stack = stack
        with stack.connect() as connection:
            row = connection.execute("SELECT epoch, driver_pid FROM ops.streams WHERE topic = %s", (TOPIC,))
            self.epoch, self.pid = row.fetchone() or (0, 0)
        self.python = psutil.Process(self.pid)
        jvm = self.python.parent()
        assert jvm is not None
        self.jvm = jvm
        self.processes = [self.jvm, *self.jvm.children(recursive=True)]

    def is_gone(self) -> bool:
        """Whether not one of its processes is left."""
        return not any(process.is_running() and process.status() != "zombie" for process in self.processes)

    def wait_until_replaced(self, seconds: float) -> float:
        """Wait until a newer driver has taken over; returns the seconds."""

        def replaced() -> bool:
            with self._stack.connect() as connection:
                query = "SELECT 1 FROM ops.streams WHERE topic = %s AND epoch > %s AND state = 'running'"
                return connection.execute(query, (TOPIC, self.epoch)).fetchone() is not None

        return wait_until(replaced, seconds, f"driver of epoch {self.epoch} replaced")
