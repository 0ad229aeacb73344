"""What is in a topic, read by a plain consumer, and the simulator as a process of its own."""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from include.local_stack.kafka import Kafka
from include.local_stack.settings import PROJECT_ROOT

PARTITIONS = 4
DEADLINE_SECONDS = 30

Values = Counter[bytes | None]


class Simulator:
    """A running `python -m include.simulator`."""

    def __init__(self, arguments: list[str], output: Path) -> None:
        self.output = output
        with output.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "include.simulator", *arguments],
                cwd=PROJECT_ROOT,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds; fail if the simulator ends before."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not condition():
            assert self.process.poll() is None, f"the simulator ended: {self.output.read_text()}"
            assert time.monotonic() < deadline, f"in vain: {self.output.read_text()}"
            time.sleep(0.01)

    def end(self) -> str:
        """Wait for a good end; returns what it printed."""
        assert self.process.wait(DEADLINE_SECONDS) == 0, self.output.read_text()
        return self.output.read_text()


@pytest.fixture
def simulate(kafka: Kafka, topic: str, tmp_path: Path) -> Iterator[Callable[..., Simulator]]:
    """Starts a simulator that sends to the topic."""
    started: list[Simulator] = []

    def start(*arguments: str) -> Simulator:
        shared = ["--bootstrap-servers", kafka.bootstrap_servers, "--topic", topic]
        started.append(Simulator([*shared, *arguments], tmp_path / f"simulator-{len(started)}.log"))
        return started[-1]

    yield start
    for simulator in started:
        simulator.process.kill()
        simulator.process.wait()


@pytest.fixture
def partitions(kafka: Kafka, topic: str) -> Callable[[], list[Values]]:
    """Reads the whole topic: how often each value stands in each partition."""

    def read() -> list[Values]:
        consumer = Consumer(
            {
                "bootstrap.servers": kafka.bootstrap_servers,
                "group.id": "test",
                "enable.auto.commit": False,
            }
        )
        places = [TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)]
        ends = [consumer.get_watermark_offsets(place, timeout=10)[1] for place in places]
        found: list[Values] = [Counter() for _ in places]
        consumer.assign(places)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while any(values.total() < end for values, end in zip(found, ends, strict=True)):
            assert time.monotonic() < deadline
            for message in consumer.consume(20_000, 0.2):
                assert message.error() is None, message.error()
                found[message.partition() or 0][message.value()] += 1
        consumer.close()
        return found

    return read


@pytest.fixture
def topic_values(partitions: Callable[[], list[Values]]) -> Callable[[], Values]:
    """Reads the whole topic: how often each value stands in it."""

    def read() -> Values:
        whole: Values = Counter()
        for values in partitions():
            whole.update(values)
        return whole

    return read
