"""A metered archive without Spark and Kafka: the stream's pass and commit, on real PostgreSQL and files."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.dataset as pads
import pytest

from include.local_stack.settings import PROJECT_ROOT
from include.maintenance.integrity import check_integrity
from include.maintenance.session import MaintenanceSession
from metering.archive import Storage
from metering.commits import Advance, MicroBatch, StreamStore
from metering.events import Limits
from metering.executor_pass import PassPlan, executor_pass, merge_totals, unpack_results
from metering.hour_store import HourStore
from metering.hourly import file_totals, files_table
from tests.conftest import Database
from tests.object_store import ObjectStore

HOUR = datetime(2023, 11, 14, 22, tzinfo=UTC)
# When the records came to Kafka.
CAME = datetime(2023, 11, 15, 6, 30, tzinfo=UTC)
ARCHIVE = "maintenance"
UNLIMITED = Limits(newest=2**62, oldest=None)
BROKEN = (b"not json", b"[]", b'{"bytes": 1}')
LATE_HOURS = (PROJECT_ROOT / "include" / "sql" / "queries" / "late_hours.sql").read_bytes()
RECORDS = pa.schema(
    [
        ("value", pa.binary()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("timestamp", pa.timestamp("us", tz="UTC")),
    ]
)

# An action in a process of its own, which kills itself at a point that exists only here.
CHILD = """
import os, signal, sys
from importlib import import_module

module, owner_name, method, when, action = sys.argv[1:]
owner = getattr(import_module(module), owner_name)
original = getattr(owner, method)

def faulty(self, *args, **kwargs):
    if args and args[0] == []:
        return original(self, *args, **kwargs)
    if when == "halfway":
        original(self, list(args[0])[:1], *args[1:], **kwargs)
    elif when == "after":
        original(self, *args, **kwargs)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(owner, method, faulty)
exec(action)
"""


@dataclass
class Metering:
    """Commits micro-batches as the streaming job does, and keeps an account of its own of what was sent.

    `accepted` holds (partition, offset, event) of what must be counted, `rejected` (partition, offset, value)
    of what must not.
    """

    database: Database
    folder: Path
    # Where the archive is, if not in the folder itself, which then holds the copy that is looked at.
    object_store: ObjectStore | None = None
    topic: str = "devices"
    accepted: list[tuple[int, int, dict[str, Any]]] = field(default_factory=list)
    rejected: list[tuple[int, int, bytes]] = field(default_factory=list)
    _next_offsets: dict[int, int] = field(default_factory=lambda: {0: 0, 1: 0})
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        self.storage = Storage(self.storage_path)
        self.start_driver()

    @property
    def storage_path(self) -> str:
        return self.object_store.uri(ARCHIVE) if self.object_store else str(self.folder)

    def start_driver(self) -> list[str]:
        """A driver takes the topic over; returns the files that it swept."""
        self._store = StreamStore(self.database.url, self.topic, "bytes")
        self._store.open_epoch("host", 1, None)
        swept = self._store.sweep(self.storage)
        self._store.add_partitions(dict.fromkeys(self._next_offsets, 0))
        return swept

    def new_events(self, count: int, hour: datetime = HOUR) -> list[dict[str, Any]]:
        """Events of the hour that differ from all others."""
        return [
            {
                "timestamp": int(hour.timestamp()) + number * 37 % 3600,
                "id": f"device-{number % 7}",
                "antenna_id": f"antenna-{number % 3}",
                "bytes": number,
                "app": f"app-{number % 2}",
            }
            for number in itertools.islice(self._numbers, count)
        ]

    def send(
        self,
        accepted: Sequence[dict[str, Any]] = (),
        rejected: Sequence[bytes] = (),
        *,
        came: datetime = CAME,
        limits: Limits = UNLIMITED,
    ) -> int:
        """Commit one micro-batch of these events and broken records; returns its commit id."""
        sent: list[tuple[dict[str, Any] | None, bytes]] = [
            *((event, json.dumps(event).encode()) for event in accepted),
            *((None, value) for value in rejected),
        ]
        before = dict(self._next_offsets)
        rows = []
        for number, (event, value) in enumerate(sent):
            partition = number % 2
            offset = self._next_offsets[partition]
            self._next_offsets[partition] += 1
            rows.append({"value": value, "partition": partition, "offset": offset, "timestamp": came})
            if event is None:
                self.rejected.append((partition, offset, value))
            else:
                self.accepted.append((partition, offset, event))
        plan = PassPlan(self.storage_path, self.topic, self._store.epoch, before, limits)
        return self._commit(plan, sorted(rows, key=_place), len(accepted), len(rejected), came)

    def _commit(
        self, plan: PassPlan, rows: list[dict[str, Any]], accepted: int, rejected: int, came: datetime
    ) -> int:
        (packed,) = executor_pass(plan)([pa.RecordBatch.from_pylist(rows, RECORDS)])
        (result,) = unpack_results([packed.column("result")[0].as_py()])
        totals = merge_totals([result])
        assert (result.accepted, sum(result.rejected.values())) == (accepted, rejected)
        advances = [
            Advance(partition, plan.next_offsets[partition], end, int(came.timestamp()))
            for partition, end in self._next_offsets.items()
            if end > plan.next_offsets[partition]
        ]
        batch = MicroBatch(
            advances, totals, result.files, accepted, result.rejected, result.newest_event_time, 1
        )
        return self._store.commit(batch, self.storage.publish)

    def batch(self, hour: datetime = HOUR) -> None:
        """What the batch job does, without Spark and users: every device is unknown."""
        with HourStore.locked(self.database.url, hour) as store:
            manifest = store.manifest()
            batches = files_table(manifest.files).to_batches()
            hourly: Counter[tuple[str, str]] = Counter()
            for part in file_totals(self.storage_path)(batches):
                for kind, key, value in (
                    pl.DataFrame(pl.from_arrow(part)).select("type", "id", "value").rows()
                ):
                    unknown = kind == "user_total_bytes"
                    hourly[("mail_total_bytes", "unknown") if unknown else (kind, key)] += value
            rows = [(kind, key, value) for (kind, key), value in hourly.items()]
            store.replace("bytes_hourly", rows, "user_quota_limit", [], manifest)

    @contextmanager
    def maintenance(self) -> Iterator[MaintenanceSession]:
        """A session of maintenance."""
        with MaintenanceSession.open(self.database.url, self.storage_path) as session:
            yield session

    def query(self, statement: str | bytes, *parameters: object) -> list[tuple[Any, ...]]:
        """The rows of a query; none of another statement."""
        query = statement.encode() if isinstance(statement, str) else statement
        with self.database.connect() as connection:
            cursor = connection.execute(query, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def late_hours(self) -> list[datetime]:
        """What the DAG late_hours would compute again."""
        return [hour for (hour,) in self.query(LATE_HOURS)]

    def manifest(self, kind: str = "%") -> set[str]:
        """The paths in the manifest."""
        return {path for (path,) in self.query("SELECT path FROM ops.archive_files WHERE kind LIKE %s", kind)}

    def _look(self) -> None:
        if self.object_store:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.object_store.download(ARCHIVE, self.folder)

    def in_folder(self, *folders: str) -> set[str]:
        """The files that there are."""
        self._look()
        return {
            str(path.relative_to(self.folder))
            for folder in folders or ("events", "rejected")
            for path in (self.folder / folder).rglob("*")
            if path.is_file()
        }

    def run_and_die(self, action: str, module: str, owner: str, method: str, when: str) -> None:
        """Run code in a child that is killed before, halfway through or after a method's first real call.

        Returns when PostgreSQL has noticed.
        """
        roots = (PROJECT_ROOT, PROJECT_ROOT / "spark_jobs")
        result = subprocess.run(
            [sys.executable, "-c", CHILD, module, owner, method, when, action],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, roots))},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert result.returncode == -signal.SIGKILL, result.stderr
        deadline = time.monotonic() + 10
        held = "SELECT count(*) FROM pg_locks JOIN pg_database ON oid = database "
        held += "WHERE locktype = 'advisory' AND datname = current_database()"
        while self.query(held) != [(0,)]:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def check_tables(self) -> None:
        """`bytes` holds exactly what was sent, and every computed hour that is not late adds up to it."""
        expected: Counter[tuple[datetime, str, str]] = Counter()
        for _, _, event in self.accepted:
            window = datetime.fromtimestamp(event["timestamp"] - event["timestamp"] % 300, UTC)
            expected[window, "antenna_total_bytes", event["antenna_id"]] += event["bytes"]
            expected[window, "user_total_bytes", event["id"]] += event["bytes"]
            expected[window, "app_total_bytes", event["app"]] += event["bytes"]
        rows = self.query("SELECT timestamp, type, id, value FROM bytes")
        assert {row[:3]: row[3] for row in rows} == expected
        for (hour,) in self.query("SELECT hour FROM ops.hours"):
            if hour not in self.late_hours():
                self._check_hour(hour)

    def _check_hour(self, hour: datetime) -> None:
        expected: Counter[tuple[str, str]] = Counter()
        for _, _, event in self.accepted:
            if hour <= datetime.fromtimestamp(event["timestamp"], UTC) < hour + timedelta(hours=1):
                expected["antenna_total_bytes", event["antenna_id"]] += event["bytes"]
                expected["app_total_bytes", event["app"]] += event["bytes"]
                expected["mail_total_bytes", "unknown"] += event["bytes"]
        rows = self.query("SELECT type, id, value FROM bytes_hourly WHERE timestamp = %s", hour)
        assert {row[:2]: row[2] for row in rows} == expected

    def check_files(self, paths: set[str]) -> None:
        """These files, read by plain pyarrow, hold every record exactly once."""
        expected = [
            {
                **event,
                "timestamp": datetime.fromtimestamp(event["timestamp"], UTC),
                "topic": self.topic,
                "partition": partition,
                "offset": offset,
            }
            for partition, offset, event in self.accepted
        ]
        assert sorted(self._read("events", paths), key=_place) == sorted(expected, key=_place)
        rejected = self._read("rejected", paths)
        kept = sorted((row["partition"], row["offset"], row["value"]) for row in rejected)
        assert kept == sorted(self.rejected)
        assert {row["topic"] for row in rejected} <= {self.topic}

    def _read(self, kind: str, paths: set[str]) -> list[dict[str, Any]]:
        self._look()
        files = [str(self.folder / path) for path in sorted(paths) if path.startswith(f"{kind}/")]
        return list(pads.dataset(files, format="parquet").to_table().to_pylist()) if files else []

    def check_manifest(self) -> None:
        """The files that the manifest names hold every record once, and the progress counts them rightly."""
        self.check_files(self.manifest())
        counted = "SELECT sum(accepted)::bigint, sum(rejected)::bigint FROM ops.micro_batches"
        assert self.query(counted) == [(len(self.accepted), len(self.rejected))]

    def check_everything(self) -> None:
        """Tables, manifest and folder are what was sent, and nothing else is there."""
        self.check_tables()
        self.check_manifest()
        self.check_files(self.in_folder())
        assert self.in_folder() == self.manifest()
        assert self.in_folder("_staging") == set()
        report = check_integrity(self.database.url, self.storage_path, deep=True)
        assert report.differences == []


def _place(row: dict[str, Any]) -> tuple[int, int]:
    return row["partition"], row["offset"]


@pytest.fixture
def metering(database: Database, tmp_path: Path) -> Metering:
    """A driver that has just started on an empty topic with two partitions."""
    return Metering(database, tmp_path / "storage")
