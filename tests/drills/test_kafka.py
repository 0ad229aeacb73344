"""Drills on Kafka: the broker restarts, a partition is added, records are removed before they were read."""

import time
from random import Random

import pytest
from confluent_kafka.admin import AdminClient, NewPartitions

from .lost_records import LOST, lose_records, lose_records_beside_a_driver
from .results import Trial
from .rig import Rig, mixed_traffic

pytestmark = pytest.mark.in_turns(2)


def test_kafka_restarted(rig: Rig, trial: Trial, luck: Random) -> None:
    """The broker is stopped in order, or killed, and is back after a while."""
    how, pause = luck.choice(("stop", "kill")), luck.uniform(0, 5)
    trial.choose(how=how, away=pause)
    kafka = rig.servers.kafka
    kafka.stop() if how == "stop" else kafka.kill()
    time.sleep(pause)
    kafka.start()
    trial.recover(time.time())
    trial.check()


def test_partition_added(rig: Rig, trial: Trial, luck: Random) -> None:
    """The running driver reads a new partition, from its first record on."""
    driver = rig.driver
    rig.stop_traffic()
    partition = len(rig.end_offsets())
    admin = AdminClient({"bootstrap.servers": rig.bootstrap_servers})
    admin.create_partitions([NewPartitions(rig.topic, partition + 1)])[rig.topic].result(30)
    rig.wait(lambda: partition in rig.end_offsets(), 10, "the partition is there")
    rig.start_traffic(mixed_traffic(luck))
    trial.recover(time.time())
    rig.wait(lambda: rig.committed_offsets().get(partition, 0) > 0, 30, f"partition {partition} is consumed")
    trial.check()
    assert rig.driver is driver
    assert driver.exit_code is None


@pytest.mark.parametrize("driver", ["down", "running"])
def test_records_removed_before_they_were_read(rig: Rig, trial: Trial, luck: Random, driver: str) -> None:
    """Retention overtakes the stream: an alarm with the lost range, and the stream goes on.

    The running driver is busy with a commit meanwhile, and no record of the partition follows.
    """
    rig.stop_traffic()
    rig.wait_until_consumed()
    assert rig.sent.read_log() == []
    partition, count = luck.randrange(4), luck.randint(1, 500)
    trial.choose(partition=partition, records=count)
    if driver == "down":
        with rig.no_driver():
            lost = lose_records(rig, partition, count)
    else:
        lost = lose_records_beside_a_driver(rig, partition, count)
    ended = time.time()
    rig.wait(lambda: rig.query(LOST) == [lost], 60, f"an alarm about {lost}")
    assert rig.committed_offsets()[partition] == lost[2] + 1
    words = f"ALARM: records lost: Kafka's retention removed offsets {lost[1]} to {lost[2]}"
    rig.wait(lambda: words in rig.driver.log, 10, words)
    rig.wait(
        lambda: f"ALARM: {count:,} records of topic" in rig.driver.log,
        20,
        "the alarm in the lines of progress",
    )
    rig.query("UPDATE ops.lost_offsets SET acknowledged_at = now() RETURNING 1")
    rig.start_traffic(mixed_traffic(luck))
    trial.recover(ended)
    trial.check()
