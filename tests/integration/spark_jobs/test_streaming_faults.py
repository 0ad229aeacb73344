"""Drivers that are killed, frozen and replaced under traffic: nothing is lost, nothing is counted twice."""

import json
import os
import signal
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from metering.heartbeat import EXIT_SUPERSEDED

WINDOW = 1_700_000_100  # the start of a 5-minute window


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


def live_processes(driver: Any) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter()
        if process.pid != driver.pid and os.getpgid(process.pid) == driver.pid
    ]


def test_killed_and_stopped(jobs: Any) -> None:
    traffic = Traffic(jobs)
    traffic.send(2000)
    driver = jobs.start_stream()
    try:
        traffic.wait_until_applied()
        traffic.send(3000)
        jobs.wait_for("SELECT count(*) > 1 FROM ops.micro_batches", expected=True)
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait(30)
        leftover = jobs.storage / "events/year=2023/month=11/day=14/hour=22/e1-dead.parquet"
        leftover.write_bytes(b"a file that a dead driver published and never committed")
        traffic.send(500)

        driver = jobs.start_stream()
        traffic.wait_until_applied()
        assert not leftover.exists()
        os.killpg(driver.pid, signal.SIGTERM)
        assert driver.wait(15) == 128 + signal.SIGTERM
        assert psutil.wait_procs(live_processes(driver), timeout=5)[1] == []
    finally:
        end(driver)
    traffic.check()
    assert jobs.query("SELECT epoch, state FROM ops.streams") == [(2, "stopped")]
    assert "stream: " in (jobs.folder / "driver.log").read_text()


def test_a_frozen_driver_wakes_up_after_its_successor_started(jobs: Any) -> None:
    traffic = Traffic(jobs)
    traffic.send(1000)
    older = jobs.start_stream()
    newer = None
    try:
        traffic.wait_until_applied()
        os.killpg(older.pid, signal.SIGSTOP)
        traffic.send(1000)
        newer = jobs.start_stream("--hang-timeout", "30")
        traffic.wait_until_applied()
        os.killpg(older.pid, signal.SIGCONT)
        traffic.send(1000)
        assert older.wait(30) == EXIT_SUPERSEDED
        traffic.wait_until_applied()
    finally:
        end(older)
        if newer is not None:
            end(newer)
    traffic.check()
    log = (jobs.folder / "driver.log").read_text()
    assert "a newer driver " in log
    assert f"meters topic {jobs.topic}; this one (epoch 1) " in log
    assert [folder.name for folder in (jobs.folder / "checkpoint").iterdir()] == [f"{jobs.topic}-epoch-2"]


def test_postgres_restart(jobs: Any, postgres: Any) -> None:
    traffic = Traffic(jobs)
    traffic.send(1000)
    driver = jobs.start_stream()
    try:
        traffic.wait_until_applied()
        postgres.restart()
        traffic.send(1000)
        traffic.wait_until_applied()
        assert driver.poll() is None
    finally:
        end(driver)
    traffic.check()


def test_late_events_and_a_damaged_file(jobs: Any) -> None:
    traffic = Traffic(jobs)
    traffic.send(400)
    assert jobs.stream().returncode == 0
    hour = datetime.fromtimestamp(WINDOW - WINDOW % 3600, UTC)
    assert jobs.batch(hour.isoformat()).returncode == 0
    late = (Path(__file__).parents[3] / "include/sql/queries/late_hours.sql").read_text()
    assert jobs.query(late) == []

    traffic.send(400)
    assert jobs.stream().returncode == 0
    traffic.check()
    assert jobs.query(late) == [(hour,)]

    ((path, content),) = [
        (path, path.read_bytes())
        for path in jobs.storage.rglob("events/**/*.parquet")
        if "-p0-100-" in path.name
    ]
    path.write_bytes(content[: len(content) // 2])
    failed = jobs.batch(hour.isoformat())
    assert failed.returncode == 1
    lines = [line for line in failed.stdout.splitlines() if line.startswith("antenna_batch_job.py: ")]
    assert len(lines) == 1, failed.stdout
    line = lines[0]
    assert path.name in line
    assert "is damaged" in line
    assert jobs.query(late) == [(hour,)]

    path.write_bytes(content)
    assert jobs.batch(hour.isoformat()).returncode == 0
    assert jobs.query(late) == []
    kinds = (
        "SELECT type, sum(value)::bigint FROM {} WHERE timestamp >= '{}' AND timestamp < '{}' GROUP BY type"
    )
    windows = dict(jobs.query(kinds.format("bytes", hour, hour.replace(minute=59))))
    totals = dict(jobs.query(kinds.format("bytes_hourly", hour, hour.replace(minute=59))))
    assert totals["antenna_total_bytes"] == windows["antenna_total_bytes"] > 0
    assert totals["mail_total_bytes"] == totals["app_total_bytes"] == totals["antenna_total_bytes"]
