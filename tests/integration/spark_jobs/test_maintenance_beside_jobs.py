"""Maintenance beside the real jobs: readers undisturbed, nothing lost, nothing counted twice."""

import json
import os
import signal
import threading
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from include.local_stack.settings import PROJECT_ROOT
from include.maintenance.compaction import compact_closed_hours
from include.maintenance.integrity import check_integrity
from include.maintenance.session import MaintenanceSession

WINDOW = 1_700_000_100  # the start of a 5-minute window
HOUR = datetime.fromtimestamp(WINDOW - WINDOW % 3600, UTC)
LATE_HOURS = (PROJECT_ROOT / "include" / "sql" / "queries" / "late_hours.sql").read_text()


class Traffic:
    """Sends numbered events and keeps what `bytes` must hold after them."""

    def __init__(self, jobs: Any) -> None:
        self.jobs = jobs
        self.expected: Counter[tuple[int, str, str]] = Counter()
        self.records = 0

    def send(self, count: int) -> None:
        values: dict[int, list[bytes]] = {0: [], 1: [], 2: [], 3: []}
        for number in range(self.records, self.records + count):
            event = {
                "timestamp": WINDOW + number % 4000,
                "id": f"device-{number % 7}",
                "antenna_id": f"antenna-{number % 3}",
                "bytes": number,
                "app": f"app-{number % 2}",
            }
            values[number % 4].append(json.dumps(event).encode())
            window = event["timestamp"] - event["timestamp"] % 300  # type: ignore[operator]
            for kind, field in (("antenna", "antenna_id"), ("user", "id"), ("app", "app")):
                self.expected[window, f"{kind}_total_bytes", str(event[field])] += number
        for partition, records in values.items():
            self.jobs.send(records, partition)
        self.records += count

    def check(self) -> None:
        rows = self.jobs.query("SELECT extract(epoch FROM timestamp)::bigint, type, id, value FROM bytes")
        assert {row[:3]: row[3] for row in rows} == dict(self.expected)
        events = self.jobs.archive().select(["partition", "offset"]).to_pylist()
        assert Counter((row["partition"], row["offset"]) for row in events) == Counter(
            (number % 4, number // 4) for number in range(self.records)
        )
        manifest = {path for (path,) in self.jobs.query("SELECT path FROM ops.archive_files")}
        found = {
            str(path.relative_to(self.jobs.storage))
            for path in self.jobs.storage.rglob("events/**/*.parquet")
        }
        assert found == manifest

    def wait_until_applied(self) -> None:
        self.jobs.wait_for("SELECT coalesce(sum(accepted), 0)::bigint FROM ops.micro_batches", self.records)


def end(driver: Any) -> None:
    """Kill a driver with all its processes, if it is still there."""
    if driver.poll() is None:
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait(30)


def maintain(jobs: Any) -> int:
    """One round of maintenance; returns how many files were merged."""
    dsn, storage = jobs.database.url, str(jobs.storage)
    with MaintenanceSession.open(dsn, storage) as session:
        session.sweep()
        report = compact_closed_hours(session, datetime.now(UTC), 2**20)
    assert report.damaged == {}
    integrity = check_integrity(dsn, storage, deep=True)
    assert integrity.differences == [], str(integrity)
    return report.merged_files


def test_compaction_and_checks_beside_stream_and_batches(jobs: Any) -> None:
    traffic = Traffic(jobs)
    failures: list[BaseException] = []
    merged: list[int] = []
    stop = threading.Event()

    def keep_maintaining() -> None:
        try:
            while not stop.wait(0.2):
                merged.append(maintain(jobs))
        except BaseException as error:
            failures.append(error)
            raise

    maintenance = threading.Thread(target=keep_maintaining)
    driver = jobs.start_stream()
    try:
        for _ in range(4):
            traffic.send(300)
            traffic.wait_until_applied()
        files = jobs.query("SELECT count(*) FROM ops.archive_files")[0][0]
        maintenance.start()
        assert jobs.batch(HOUR.isoformat()).returncode == 0
        traffic.send(300)
        traffic.wait_until_applied()
        assert jobs.query(LATE_HOURS) == [(HOUR,)]
        assert jobs.batch(HOUR.isoformat()).returncode == 0
    finally:
        stop.set()
        end(driver)
        if maintenance.ident is not None:
            maintenance.join(60)
    assert failures == []
    assert files >= 4
    assert sum(merged) + maintain(jobs) >= files
    assert jobs.query("SELECT hour, rows FROM ops.archive_files") == [(HOUR, traffic.records)]
    assert jobs.query(LATE_HOURS) == []
    traffic.check()
    hourly = jobs.query("SELECT sum(value)::bigint FROM bytes_hourly WHERE type = 'antenna_total_bytes'")
    sent = sum(value for (_, kind, _), value in traffic.expected.items() if kind == "antenna_total_bytes")
    assert hourly == [(sent,)]
