"""Retention removes whole computed hours, and what it removed is neither late nor computed to nothing."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from include.maintenance.integrity import check_integrity
from include.maintenance.retention import Ages, RetentionReport, apply_retention, check_ages
from include.maintenance.session import MaintenanceError
from metering.archive import Storage
from metering.database import DatabaseError
from metering.hour_store import HourStore

from .conftest import BROKEN, HOUR, Metering

DAY = timedelta(days=1)
NEXT_HOUR = HOUR + timedelta(hours=1)
THIS_HOUR = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


def retain(metering: Metering, **ages: int) -> RetentionReport:
    with metering.maintenance() as session:
        return apply_retention(session, Ages(**ages))


def differences(metering: Metering) -> list[str]:
    return list(map(str, check_integrity(metering.database.url, str(metering.folder), deep=True).differences))


def hours_of(metering: Metering, table: str) -> set[datetime]:
    return {hour for (hour,) in metering.query(f"SELECT DISTINCT date_trunc('hour', timestamp) FROM {table}")}


def test_by_default_everything_is_kept(metering: Metering) -> None:
    metering.send(metering.new_events(10), BROKEN)
    metering.batch()
    assert retain(metering) == RetentionReport()
    metering.check_everything()


def test_old_hours_of_the_archive_go_with_their_files(metering: Metering) -> None:
    metering.send(metering.new_events(10) + metering.new_events(10, THIS_HOUR), BROKEN)
    metering.batch()
    hourly = metering.query("SELECT * FROM bytes_hourly ORDER BY 1, 2, 3, 4")
    assert retain(metering, events=1).event_hours == 1
    assert [path for path in metering.in_folder("events") if "year=2023" in path] == []
    assert metering.in_folder() == metering.manifest()
    assert metering.query("SELECT path FROM ops.files_to_delete") == []
    assert metering.query("SELECT * FROM bytes_hourly ORDER BY 1, 2, 3, 4") == hourly
    assert hours_of(metering, "bytes") == {HOUR, THIS_HOUR}
    assert metering.late_hours() == []
    assert differences(metering) == []
    assert retain(metering, events=1) == RetentionReport()


def test_a_removed_hour_is_not_computed_to_nothing(metering: Metering) -> None:
    metering.send(metering.new_events(10))
    metering.batch()
    hourly = metering.query("SELECT * FROM bytes_hourly ORDER BY 1, 2, 3, 4")
    retain(metering, events=1)
    with pytest.raises(
        DatabaseError, match=r"archive of the hour 2023-11-14T22:00:00.* was removed by retention"
    ):
        metering.batch()
    assert metering.query("SELECT * FROM bytes_hourly ORDER BY 1, 2, 3, 4") == hourly


def test_events_after_the_removal_make_nothing_late_and_go_next_time(metering: Metering) -> None:
    metering.send(metering.new_events(10))
    metering.batch()
    retain(metering, events=1)
    metering.send(metering.new_events(5))
    assert metering.late_hours() == []
    assert differences(metering) == []
    assert retain(metering, events=1).event_hours == 1
    assert metering.in_folder() == metering.manifest() == set()
    assert metering.query("SELECT removed_from, accepted FROM ops.removed_records") == [("events", 15)]
    assert differences(metering) == []


def test_hours_with_events_that_are_not_computed_are_kept_and_named(metering: Metering) -> None:
    metering.send(metering.new_events(10) + metering.new_events(10, NEXT_HOUR))
    metering.batch()
    metering.send(metering.new_events(5))
    report = retain(metering, events=1, windows=1)
    assert report.not_computed == {HOUR, NEXT_HOUR}
    assert "2023-11-14T22:00Z, 2023-11-14T23:00Z" in str(report)
    metering.check_everything()
    metering.batch()
    assert retain(metering, events=1).event_hours == 1
    assert differences(metering) == []


def test_old_windows_go(metering: Metering) -> None:
    metering.send(metering.new_events(10) + metering.new_events(10, THIS_HOUR))
    metering.batch()
    assert retain(metering, windows=1).window_hours == 1
    assert hours_of(metering, "bytes") == {THIS_HOUR}
    assert differences(metering) == []
    # The archive is still there, so the hour can be computed, also with late events.
    metering.send(metering.new_events(5))
    assert metering.late_hours() == [HOUR]
    metering.batch()
    metering._check_hour(HOUR)
    assert differences(metering) == []
    assert retain(metering, windows=1).window_hours == 1
    assert hours_of(metering, "bytes") == {THIS_HOUR}


def test_an_hour_that_is_being_computed_is_left(metering: Metering) -> None:
    metering.send(metering.new_events(10))
    metering.batch()
    with HourStore.locked(metering.database.url, HOUR):
        assert retain(metering, events=1).busy_hours == {HOUR}
        metering.check_everything()


def test_a_batch_that_waited_for_retention_refuses(
    metering: Metering, monkeypatch: pytest.MonkeyPatch
) -> None:
    metering.send(metering.new_events(10))
    metering.batch()
    failures: list[Exception] = []

    def run() -> None:
        try:
            metering.batch()
        except DatabaseError as error:
            failures.append(error)

    batch = threading.Thread(target=run)
    delete = Storage.delete

    def start_batch_first(storage: Storage, paths: Any) -> None:
        monkeypatch.undo()
        batch.start()
        batch.join(1)
        assert batch.is_alive()
        delete(storage, paths)

    monkeypatch.setattr(Storage, "delete", start_batch_first)
    retain(metering, events=1)
    batch.join(20)
    assert len(failures) == 1
    metering._check_hour(HOUR)


def test_old_rejected_records_go(metering: Metering) -> None:
    now = datetime.now(UTC)
    metering.send(metering.new_events(10), BROKEN)
    metering.send([], BROKEN, came=now)
    assert retain(metering, rejected=1).rejected_records == len(BROKEN)
    assert len(metering.in_folder("rejected")) == 1
    assert metering.in_folder() == metering.manifest()
    assert differences(metering) == []


def test_old_history_goes_except_what_is_needed(metering: Metering) -> None:
    for _ in range(4):
        metering.send(metering.new_events(5), BROKEN)
    metering.batch()
    metering.send()
    metering.query("UPDATE ops.micro_batches SET committed_at = now() - INTERVAL '10 days'")
    metering.query(
        "INSERT INTO ops.lost_offsets (topic, partition, first_offset, last_offset, acknowledged_at) VALUES "
        "('devices', 0, 0, 1, now() - INTERVAL '3 days'), ('devices', 1, 0, 1, NULL), "
        "('devices', 2, 0, 1, now())"
    )
    metering.query(
        "INSERT INTO ops.stream_lag VALUES ('devices', now() - INTERVAL '3 days', 1), ('devices', now(), 2)"
    )
    # Every row but the newest, of an empty micro-batch, has a file.
    assert retain(metering, history=2).micro_batches == 0
    retain(metering, events=1, rejected=1)
    assert retain(metering, history=2).micro_batches == 4
    assert len(metering.query("SELECT 1 FROM ops.micro_batches")) == 1
    assert metering.query("SELECT partition FROM ops.lost_offsets ORDER BY 1") == [(1,), (2,)]
    assert metering.query("SELECT lag FROM ops.stream_lag") == [(2,)]
    removed = "SELECT removed_from, accepted, rejected FROM ops.removed_records ORDER BY 1"
    assert metering.query(removed) == [("events", 20, 0), ("history", 20, 12), ("rejected", 0, 12)]
    assert differences(metering) == []
    # What comes later is later than what was covered.
    metering.send(metering.new_events(5, NEXT_HOUR))
    metering.batch(NEXT_HOUR)
    metering.send(metering.new_events(5, NEXT_HOUR))
    assert metering.late_hours() == [NEXT_HOUR]


def test_young_history_stays(metering: Metering) -> None:
    metering.send(metering.new_events(5))
    metering.send()
    assert retain(metering, history=1).micro_batches == 0


ACTION = """
from include.maintenance.retention import Ages, apply_retention
from include.maintenance.session import MaintenanceSession

with MaintenanceSession.open({dsn!r}, {storage!r}) as session:
    apply_retention(session, Ages(events=1, rejected=1))
"""


@pytest.mark.parametrize(
    ("owner", "method", "when", "removed"),
    [
        ("MaintenanceSession", "mark_for_deletion", "after", False),
        ("MaintenanceSession", "delete_files", "before", True),
        ("MaintenanceSession", "delete_files", "halfway", True),
    ],
)
def test_killed_at_every_seam(metering: Metering, owner: str, method: str, when: str, removed: bool) -> None:
    metering.send(metering.new_events(10))
    metering.send(metering.new_events(10), BROKEN)
    metering.batch()
    before = metering.in_folder()
    action = ACTION.format(dsn=metering.database.url, storage=str(metering.folder))
    metering.run_and_die(action, "include.maintenance.session", owner, method, when)
    if not removed:
        metering.check_everything()
        assert metering.in_folder() == before
    with metering.maintenance() as session:
        session.sweep()
    assert len(metering.manifest("events")) == (0 if removed else 2)
    assert metering.in_folder() == metering.manifest()
    assert differences(metering) == []
    retain(metering, events=1, rejected=1)
    assert metering.in_folder() == metering.manifest() == set()
    assert differences(metering) == []


@pytest.mark.parametrize(
    ("ages", "max_lateness", "message"),
    [
        (Ages(events=0), None, "the age of events 0 is no number of days from 1 on"),
        (Ages(history=-3), None, "the age of history -3 is no number"),
        (Ages(events=7), 7 * 86_400, "events of 7 days cannot go .* keep them for more than 7 days"),
        (
            Ages(windows=1),
            90_000,
            "bytes of 1 days cannot go while the stream accepts events that are 90000",
        ),
    ],
)
def test_ages_that_cannot_be(ages: Ages, max_lateness: int | None, message: str) -> None:
    with pytest.raises(MaintenanceError, match=message):
        check_ages(ages, max_lateness)


@pytest.mark.parametrize(
    ("ages", "max_lateness"),
    [(Ages(), 86_400), (Ages(events=8, rejected=1), 7 * 86_400), (Ages(events=1), None)],
)
def test_ages_that_can_be(ages: Ages, max_lateness: int | None) -> None:
    check_ages(ages, max_lateness)


def test_hours_end_on_the_hour(metering: Metering) -> None:
    """An hour is old enough when its end is."""
    youngest = THIS_HOUR - DAY - timedelta(hours=1)
    metering.send(metering.new_events(3, youngest) + metering.new_events(3, youngest + timedelta(hours=1)))
    metering.batch(youngest)
    metering.batch(youngest + timedelta(hours=1))
    retain(metering, events=1, windows=1)
    # The clock may have passed the hour since this module was imported.
    removed = {
        hour for (hour,) in metering.query("SELECT hour FROM ops.hours WHERE archive_removed_at IS NOT NULL")
    }
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    assert removed == {
        hour for hour in (youngest, youngest + timedelta(hours=1)) if hour <= now - DAY - timedelta(hours=1)
    }
    assert differences(metering) == []
