"""Maintenance beside the real jobs: readers undisturbed, nothing lost, nothing counted twice."""

import threading
from datetime import UTC, datetime
from typing import Any

from include.local_stack.settings import PROJECT_ROOT
from include.maintenance.compaction import compact_closed_hours
from include.maintenance.integrity import check_integrity
from include.maintenance.session import MaintenanceSession

from .test_streaming_faults import WINDOW, Traffic, end

HOUR = datetime.fromtimestamp(WINDOW - WINDOW % 3600, UTC)
LATE_HOURS = (PROJECT_ROOT / "include" / "sql" / "queries" / "late_hours.sql").read_text()


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


def test_a_flipped_bit_is_named_before_an_hour_is_computed_from_it(jobs: Any) -> None:
    traffic = Traffic(jobs)
    traffic.send(100)
    assert jobs.stream().returncode == 0
    path = next(path for path in jobs.storage.rglob("events/**/hour=22/*.parquet"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    failed = jobs.batch(HOUR.isoformat())
    assert failed.returncode == 1
    (line,) = [line for line in failed.stdout.splitlines() if line.startswith("antenna_batch_job.py: ")]
    assert path.name in line
    assert f"is damaged: its {len(content)} bytes are not those that were written" in line
    assert jobs.query("SELECT count(*) FROM bytes_hourly") == [(0,)]
    assert jobs.query("SELECT count(*) FROM ops.hours") == [(0,)]
