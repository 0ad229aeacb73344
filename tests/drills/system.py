"""What a drill works on: a topic under traffic, metered into a database and a storage folder, and the check
that all of it equals the ledger."""

import json
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import psycopg
from confluent_kafka import Producer

from include.local_stack import processes
from include.local_stack.settings import PROJECT_ROOT
from include.simulator.generator import Traffic
from include.simulator.ledger import Ledger, User, compare_with_database, read_users
from include.simulator.producer import SendSummary, SimulationPlan, send
from include.simulator.tally import Tally

from .batch import BatchServer
from .sent import Sent, end_offsets

USERS_CSV = PROJECT_ROOT / "include" / "provisioner" / "user_metadata.csv"
LATE_HOURS = (PROJECT_ROOT / "include" / "sql" / "queries" / "late_hours.sql").read_bytes()
# A record's value, and the reason for which it must be rejected (None: it must be accepted).
Record: TypeAlias = tuple[bytes | None, str | None]
# What is longer is no recovery; how long it takes is told in any case.
LONGEST_RECOVERY = 180
LARGEST_MESSAGE = 12 * 1024 * 1024
# Hours that were never computed, or that have received events since.
NEW_HOURS = """
SELECT DISTINCT hour FROM ops.archive_files
WHERE kind = 'events' AND hour NOT IN (SELECT hour FROM ops.hours) ORDER BY hour
"""
COUNTS = """
SELECT coalesce(sum(accepted), 0)::bigint, coalesce(sum(rejected), 0)::bigint FROM ops.micro_batches
"""
COMMITS = """
SELECT
    extract(
        epoch FROM min(committed_at) FILTER (WHERE epoch > %s AND committed_at > to_timestamp(%s))
    )::float8,
    extract(epoch FROM max(committed_at) FILTER (WHERE epoch <= %s))::float8
FROM ops.micro_batches
"""
BY_REASON = """
SELECT key, sum(value::bigint)::bigint FROM ops.micro_batches
CROSS JOIN jsonb_each_text(rejected_by_reason) GROUP BY key ORDER BY key
"""


class WrongRowsError(AssertionError):
    """The tables or files are not what was sent; `differences` names every wrong row."""

    def __init__(self, differences: list[str]) -> None:
        super().__init__("\n".join([f"{len(differences)} wrong rows:", *differences[:30]]))
        self.differences = differences


class System:
    """One metered topic. `folder` keeps the ledger and the logs."""

    def __init__(
        self, folder: Path, storage: Path, bootstrap_servers: str, topic: str, db_url: str, batch: BatchServer
    ) -> None:
        self.folder = folder
        self.storage = storage
        # What the jobs are told; the same folder, unless a rig says otherwise.
        self.storage_path = str(storage)
        self.bootstrap_servers = bootstrap_servers
        self.topic = topic
        self.db_url = db_url
        self.batch = batch
        self.users: dict[str, User] = read_users(USERS_CSV)
        self.sent = Sent(bootstrap_servers, topic)
        self.checked = True
        self._traffic: _TrafficThread | None = None
        self._producer = Producer(
            {"bootstrap.servers": bootstrap_servers, "message.max.bytes": LARGEST_MESSAGE, "log_level": 0}
        )
        Ledger(self.ledger_file, create=True).close()

    @property
    def ledger_file(self) -> Path:
        return self.folder / "ledger.sqlite"

    def connect(self) -> psycopg.Connection[Any]:
        """An autocommit connection, past whatever a drill does to those of the driver."""
        return psycopg.connect(self.db_url, autocommit=True)

    def query(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with self.connect() as connection:
            return list(connection.execute(statement.encode(), parameters or None).fetchall())

    def start_traffic(self, traffic: Traffic) -> None:
        """Send from now on, in real time, until `stop_traffic`."""
        self.checked = False
        self._traffic = _TrafficThread(self, traffic)
        self._traffic.start()

    def stop_traffic(self) -> None:
        """Stop the traffic, and take down what it has sent."""
        thread, self._traffic = self._traffic, None
        if thread is not None:
            summary = thread.finish()
            self.sent.add_traffic(thread.traffic, summary.start, summary.end)

    def abandon_traffic(self) -> None:
        """Stop the traffic of a system that is given up, whatever has become of it."""
        thread, self._traffic = self._traffic, None
        if thread is not None:
            with suppress(Exception):
                thread.finish()

    def send_past(self, traffic: Traffic, start: datetime, minutes: float) -> None:
        """Send a stretch of the past at once."""
        self.checked = False
        plan = SimulationPlan(traffic, start, minutes)
        config = {"bootstrap.servers": self.bootstrap_servers}
        with Ledger(self.ledger_file) as ledger:
            summary = send(config, self.topic, plan, ledger, lambda: False, f"past-{time.monotonic_ns()}")
        self.sent.add_traffic(traffic, summary.start, summary.end)

    def send(self, records: Iterable[Record], partition: int = 0) -> None:
        """Send records, in order."""
        self.checked = False
        tally = Tally()
        for value, reason in records:
            self.sent.add(value, reason)
            if reason is not None:
                tally.verdicts[reason] += 1
            else:
                assert value is not None
                tally.add(**_event_fields(value))
            self.produce(value, partition)
        self.flush()
        with Ledger(self.ledger_file) as ledger:
            ledger.record(tally)

    def produce(self, value: bytes | None, partition: int) -> None:
        """Queue a record that nobody counts."""
        while True:
            try:
                self._producer.produce(self.topic, value=value, partition=partition)
            except BufferError:
                self._producer.poll(0.1)
            else:
                return

    def flush(self) -> None:
        """Wait until Kafka has every queued record."""
        assert self._producer.flush(60) == 0, "records could not be sent"

    def end_offsets(self) -> dict[int, int]:
        """Partition -> one past its last record."""
        return end_offsets(self.bootstrap_servers, self.topic)

    def committed_offsets(self) -> dict[int, int]:
        """Partition -> the committed next offset."""
        query = "SELECT partition, next_offset FROM ops.stream_offsets WHERE topic = %s"
        return dict(self.query(query, self.topic))

    def wait_until_consumed(self, seconds: float = 90) -> None:
        """Wait until everything that is in the topic now is committed."""
        ends = self.end_offsets()

        def consumed() -> bool:
            committed = self.committed_offsets()
            return all(committed.get(partition, 0) >= end for partition, end in ends.items())

        self.wait(consumed, seconds, f"the stream has consumed {ends}")

    def wait(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait for a condition; AssertionError after so many seconds."""
        assert processes.wait_until(condition, seconds), (
            f"not within {seconds:.0f} s: {what}; {self.describe()}"
        )

    def describe(self) -> str:
        """What to know about a system that does not do what it should."""
        return f"committed {self.committed_offsets()}"

    def seconds_to_commit(self, ended: float, after_epoch: int = 0) -> float:
        """Wait for the first commit after `ended` (epoch seconds) of an epoch greater than `after_epoch`;
        returns how much later it was than `ended`, or than the last commit of the epochs before."""
        found: list[float] = []

        def committed() -> bool:
            ((first, last_before),) = self.query(COMMITS, after_epoch, ended, after_epoch)
            if first is not None:
                found.append(first - max(ended, last_before or 0.0))
            return first is not None

        self.wait(committed, LONGEST_RECOVERY, "a commit after the fault")
        return found[0]

    def check(self) -> None:
        """Stop the traffic, wait until it is consumed and computed, and compare everything with the ledger.

        Raises:
            WrongRowsError: something differs.
        """
        self.stop_traffic()
        self.wait_until_consumed()
        self.compute_hours()
        if differences := self.differences():
            raise WrongRowsError(differences)
        self.checked = True

    def compute_hours(self) -> None:
        """Run the batch for every hour that is new or late, as antenna_batch and late_hours do."""
        for (hour,) in self.query(NEW_HOURS) + self.query(LATE_HOURS.decode()):
            result = self.batch.run(self.batch_arguments(hour))
            assert result.code == 0, result.output

    def batch_arguments(self, hour: datetime) -> list[str]:
        """The batch job's arguments for an hour."""
        info = psycopg.conninfo.conninfo_to_dict(self.db_url)
        password_file = self.folder / "password"
        password_file.write_text(str(info["password"]))
        return [
            *("--timestamp", hour.astimezone(UTC).isoformat(), "--storage-path", self.storage_path),
            *("--jdbc-uri", f"jdbc:postgresql://{info['host']}:{info['port']}/{info['dbname']}"),
            *("--jdbc-user", str(info["user"]), "--jdbc-password-file", str(password_file)),
            *("--user-metadata-table", "user_metadata", "--bytes-hourly-table", "bytes_hourly"),
            *("--user-quota-limit-table", "user_quota_limit"),
        ]

    def differences(self) -> list[str]:
        """Every wrong row of the tables, the archive, the rejected records, the manifest and the counts."""
        problems = self.sent.read_log()
        with Ledger(self.ledger_file) as ledger, self.connect() as connection:
            problems += compare_with_database(ledger, connection, self.users)
            counts = ledger.counts()
        problems += self.sent.archive_differences(self.storage)
        problems += self.sent.rejected_differences(self.storage)
        (found,) = self.query(COUNTS)
        if found != (counts.accepted, sum(counts.rejected.values())):
            problems.append(f"progress: {found} accepted and rejected, sent {counts}")
        if dict(self.query(BY_REASON)) != counts.rejected:
            problems.append(f"progress: rejected {self.query(BY_REASON)}, sent {counts.rejected}")
        return problems + self._manifest_differences()

    def _manifest_differences(self) -> list[str]:
        manifest = {path for (path,) in self.query("SELECT path FROM ops.archive_files")}
        found = {
            str(path.relative_to(self.storage))
            for kind in ("events", "rejected")
            for path in (self.storage / kind).rglob("*")
            if path.is_file()
        }
        return [
            *(f"manifest: {path} is no file" for path in sorted(manifest - found)),
            *(f"manifest: {path} is a file that it does not name" for path in sorted(found - manifest)),
        ]


def _event_fields(value: bytes) -> dict[str, Any]:
    event = json.loads(value)
    return {
        "event_time": event["timestamp"] if "timestamp" in event else event["timestmap"],
        "device": event["id"],
        "antenna": event["antenna_id"],
        "app": event["app"],
        "size": event["bytes"],
    }


class _TrafficThread(threading.Thread):
    def __init__(self, system: System, traffic: Traffic) -> None:
        super().__init__(name="traffic", daemon=True)
        self.traffic = traffic
        self._system = system
        self._stop_asked = threading.Event()
        self._summary: SendSummary | None = None
        self._error: Exception | None = None

    def run(self) -> None:
        config = {"bootstrap.servers": self._system.bootstrap_servers}
        sender = f"traffic-{time.monotonic_ns()}"
        try:
            with Ledger(self._system.ledger_file) as ledger:
                plan = SimulationPlan(self.traffic)
                self._summary = send(
                    config, self._system.topic, plan, ledger, self._stop_asked.is_set, sender
                )
        except Exception as error:
            self._error = error

    def finish(self) -> SendSummary:
        """End it; returns what it sent."""
        self._stop_asked.set()
        self.join(60)
        if self._error is not None:
            raise self._error
        assert self._summary is not None, "the traffic does not stop"
        return self._summary
