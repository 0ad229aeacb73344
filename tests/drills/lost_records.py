"""Records that Kafka's retention removes before the stream has read them."""

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from .events import event
from .system import System

LOST = "SELECT partition, first_offset, last_offset FROM ops.lost_offsets WHERE acknowledged_at IS NULL"
WAITING = """
SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


def lose_records(system: System, partition: int, count: int) -> tuple[int, int, int]:
    """Send records that nobody counts, and have Kafka remove them: partition, first and last offset.

    Everything before them must be consumed, and read by `sent.read_log`, and no driver may read.
    """
    first = system.end_offsets()[partition]
    for number in range(count):
        system.produce(event(bytes=number), partition)
    system.flush()
    admin = AdminClient({"bootstrap.servers": system.bootstrap_servers})
    end = TopicPartition(system.topic, partition, first + count)
    for answer in admin.delete_records([end]).values():
        answer.result(30)
    system.sent.skip_to(partition, first + count)
    return partition, first, first + count - 1


def lose_records_beside_a_driver(system: System, partition: int, count: int) -> tuple[int, int, int]:
    """The same with a driver that reads nothing meanwhile, since its commit waits for a lock."""
    with system.connect() as connection, connection.transaction():
        connection.execute("LOCK TABLE bytes IN ACCESS EXCLUSIVE MODE")
        system.send([(event(), None)], (partition + 1) % len(system.end_offsets()))
        system.wait(lambda: bool(system.query(WAITING)), 30, "a commit waits for the lock")
        return lose_records(system, partition, count)
