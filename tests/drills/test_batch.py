"""Drills on the batch layer: two runs at once, kill -9, a backfill, late events, changed users."""

import threading
import time
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from include.simulator.generator import Traffic

from .batch import BatchResult
from .events import event
from .results import Trial
from .rig import Rig
from .system import LATE_HOURS

pytestmark = pytest.mark.in_turns(1)
HOURLY = "SELECT * FROM bytes_hourly ORDER BY timestamp, type, id"
QUOTA = "SELECT * FROM user_quota_limit ORDER BY timestamp, email"


def test_users_changed_between_runs(rig: Rig, trial: Trial, luck: Random) -> None:
    """A rerun uses the quotas, and the owners, of its own time."""
    trial.check()
    device = luck.choice(sorted(rig.users))
    gone = luck.choice(sorted(set(rig.users) - {device}))
    quota = luck.choice((0, 1, 10**12))
    trial.choose(device=device, quota=quota, gone=gone)
    before = rig.query(QUOTA)
    with rig.changed_users(device, quota, gone):
        assert rig.query(QUOTA) == before
        _compute_all_hours(rig)
        trial.check()
    _compute_all_hours(rig)
    trial.check()


def test_same_hour_from_two_runs(rig: Rig, trial: Trial, luck: Random) -> None:
    """Two runs of the batch job at once, while the hour goes on growing."""
    hour = _this_hour()
    results: list[BatchResult] = []
    servers = (rig.batch, rig.servers.other_batch)
    for server in servers:
        assert server.run(rig.batch_arguments(hour)).code == 0
    pause = luck.uniform(0, 0.5)
    trial.choose(pause=pause)
    threads = [
        threading.Thread(target=lambda server=server: results.append(server.run(rig.batch_arguments(hour))))
        for server in servers
    ]
    for thread in threads:
        thread.start()
        time.sleep(pause)
    for thread in threads:
        thread.join(60)
    assert [result.code for result in results] == [0, 0], results
    trial.check()


def test_batch_killed_while_it_writes(rig: Rig, trial: Trial, luck: Random) -> None:
    """The hour keeps its rows, and the next run computes it."""
    trial.check()
    before = rig.query(HOURLY), rig.query(QUOTA), rig.query("TABLE ops.hours")
    rig.send([(event(), None)], luck.randrange(4))
    rig.wait_until_consumed()
    result = rig.batch.run(rig.batch_arguments(_this_hour()), kill=True)
    assert result.code is None
    assert (rig.query(HOURLY), rig.query(QUOTA), rig.query("TABLE ops.hours")) == before
    trial.check()


def test_backfill_beside_the_live_hour(rig: Rig, trial: Trial, luck: Random, full: bool) -> None:
    """24 hours of the past are computed, one after the other, while the stream goes on."""
    hours = 24 if full else 4
    start = _this_hour() - timedelta(days=luck.randint(2, 300))
    trial.choose(first=start.isoformat(), hours=hours)
    traffic = Traffic(seed=luck.randrange(2**32), events_per_second=0.1, unknown_share=0.1)
    rig.send_past(traffic, start, minutes=60 * hours)
    rig.wait_until_consumed()
    commits = "SELECT count(*) FROM ops.micro_batches"
    ((before,),) = rig.query(commits)
    for number in range(hours):
        result = rig.batch.run(rig.batch_arguments(start + timedelta(hours=number)))
        assert result.code == 0, result.output
    ((after,),) = rig.query(commits)
    assert after > before, "the stream committed nothing beside the backfill"
    trial.check()


def test_late_event_while_its_hour_is_computed(rig: Rig, trial: Trial, luck: Random) -> None:
    """It is not in the hour that is being computed, which stays late, and is computed again."""
    start = _this_hour() - timedelta(days=luck.randint(2, 300))
    trial.choose(hour=start.isoformat())
    rig.send_past(Traffic(seed=luck.randrange(2**32)), start, luck.uniform(0.2, 1))
    rig.stop_traffic()
    rig.wait_until_consumed()
    pause = rig.folder / "pause"
    reached = pause.with_name("pause.reached")
    pause.touch()
    reached.unlink(missing_ok=True)
    results: list[BatchResult] = []
    arguments = rig.batch_arguments(start)
    run = threading.Thread(target=lambda: results.append(rig.batch.run(arguments, pause=str(pause))))
    run.start()
    try:
        rig.wait(reached.exists, 60, "the batch computes the hour")
        rig.send([(event(start.timestamp() + luck.randrange(3600)), None)], luck.randrange(4))
        rig.wait_until_consumed()
    finally:
        pause.unlink()
        run.join(60)
    assert [result.code for result in results] == [0], results
    assert (start,) in rig.query(LATE_HOURS.decode())
    trial.check()
    assert rig.query(LATE_HOURS.decode()) == []


def _compute_all_hours(rig: Rig) -> None:
    for (hour,) in rig.query("SELECT hour FROM ops.hours"):
        result = rig.batch.run(rig.batch_arguments(hour))
        assert result.code == 0, result.output


def _this_hour() -> datetime:
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
