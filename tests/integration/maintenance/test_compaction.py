"""Compaction merges files and changes nothing else, whatever happens meanwhile, on a real PostgreSQL."""

import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from include.maintenance.compaction import CompactionReport, compact_closed_hours
from include.maintenance.session import MaintenanceSession
from metering.archive import Storage
from metering.hour_store import HourStore
from tests.conftest import Database
from tests.object_store import ObjectStore

from .conftest import BROKEN, CAME, HOUR, Metering

TARGET = 2**20
CLOSED = CAME + timedelta(hours=1)
NEXT_HOUR = HOUR + timedelta(hours=1)


def compact(metering: Metering, target_bytes: int = TARGET) -> CompactionReport:
    with metering.maintenance() as session:
        return compact_closed_hours(session, CLOSED, target_bytes)


def send_small_files(metering: Metering, micro_batches: int = 4) -> None:
    for _ in range(micro_batches):
        metering.send(metering.new_events(20) + metering.new_events(10, NEXT_HOUR), BROKEN)


def rows_of_manifest(metering: Metering) -> list[tuple[Any, ...]]:
    return metering.query(
        "SELECT hour, kind, rows, total_bytes::bigint, offsets, commit_id FROM ops.archive_files "
        "ORDER BY 1, 2, 6"
    )


def test_small_files_become_one_per_hour_and_kind(metering: Metering) -> None:
    send_small_files(metering)
    before = rows_of_manifest(metering)
    assert len(before) == 12
    report = compact(metering)
    assert (report.merged_files, report.new_files, report.damaged) == (12, 3, {})
    assert report.hours == {HOUR, NEXT_HOUR, CAME.replace(minute=0)}
    newest = max(row[5] for row in before)
    assert [(row[1], row[2], row[5]) for row in rows_of_manifest(metering)] == [
        ("events", 80, newest),
        ("events", 40, newest),
        ("rejected", 12, newest),
    ]
    spans = [row[4] for row in before if row[0] == HOUR]
    assert rows_of_manifest(metering)[0][4] == {
        partition: [min(span[partition][0] for span in spans), max(span[partition][1] for span in spans)]
        for partition in ("0", "1")
    }
    metering.check_everything()


def test_in_an_object_store(
    database: Database, object_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in object_store.environment.items():
        monkeypatch.setenv(name, value)
    metering = Metering(database, tmp_path / "copy", object_store)
    send_small_files(metering)
    assert (compact(metering).merged_files, len(metering.manifest())) == (12, 3)
    metering.send(metering.new_events(5), BROKEN)
    assert metering.start_driver() == []
    metering.check_everything()


def test_again_changes_nothing(metering: Metering) -> None:
    send_small_files(metering)
    compact(metering)
    before = metering.manifest()
    assert compact(metering).merged_files == 0
    assert metering.manifest() == before


def test_hours_that_are_not_closed_are_left(metering: Metering) -> None:
    send_small_files(metering)
    with metering.maintenance() as session:
        assert compact_closed_hours(session, HOUR + timedelta(minutes=59), TARGET).merged_files == 0
        assert compact_closed_hours(session, NEXT_HOUR, TARGET).hours == {HOUR}
    metering.check_everything()


def test_target_size(metering: Metering) -> None:
    send_small_files(metering, 6)
    ((largest,),) = metering.query("SELECT max(file_size) FROM ops.archive_files WHERE kind = 'events'")
    compact(metering, target_bytes=2 * largest)
    counts = metering.query("SELECT hour, rows FROM ops.archive_files WHERE kind = 'events' ORDER BY 1, 2")
    assert counts == [(HOUR, 40)] * 3 + [(NEXT_HOUR, 20)] * 3
    metering.check_everything()


def test_what_the_batch_covered_and_what_came_later_stay_apart(metering: Metering) -> None:
    send_small_files(metering)
    metering.batch()
    send_small_files(metering, 2)
    assert metering.late_hours() == [HOUR]
    compact(metering)
    ((covered,),) = metering.query("SELECT covered_commit_id FROM ops.hours")
    rows = metering.query(
        "SELECT rows, commit_id <= %s FROM ops.archive_files WHERE hour = %s", covered, HOUR
    )
    assert sorted(rows) == [(20, False), (20, False), (80, True)]
    assert metering.late_hours() == [HOUR]
    metering.check_everything()
    metering.batch()
    assert metering.late_hours() == []
    compact(metering)
    assert metering.query("SELECT rows FROM ops.archive_files WHERE hour = %s", HOUR) == [(120,)]
    assert metering.late_hours() == []
    metering.check_everything()


def test_a_late_event_is_committed_while_its_hour_is_compacted(
    metering: Metering, monkeypatch: pytest.MonkeyPatch
) -> None:
    send_small_files(metering)
    metering.batch()
    replace = MaintenanceSession.replace

    def commit_first(session: MaintenanceSession, *args: Any) -> None:
        monkeypatch.undo()
        metering.send(metering.new_events(5))
        replace(session, *args)

    monkeypatch.setattr(MaintenanceSession, "replace", commit_first)
    compact(metering)
    assert metering.late_hours() == [HOUR]
    metering.check_everything()
    metering.batch()
    assert metering.late_hours() == []
    metering.check_everything()


def test_an_hour_that_is_being_computed_is_left(metering: Metering) -> None:
    send_small_files(metering)
    with HourStore.locked(metering.database.url, HOUR) as store:
        before = {path for path, *_ in store.manifest().files}
        report = compact(metering)
        assert report.busy_hours == {HOUR}
        assert before <= metering.in_folder()
        assert before <= metering.manifest()
    compact(metering)
    assert len(metering.manifest()) == 3
    metering.check_everything()


def test_a_batch_waits_for_compaction(metering: Metering, monkeypatch: pytest.MonkeyPatch) -> None:
    send_small_files(metering)
    batch = threading.Thread(target=metering.batch)
    publish = Storage.publish

    def slow(storage: Storage, files: Any) -> None:
        if batch.ident is None:
            batch.start()
            batch.join(2)
            assert batch.is_alive()
            assert metering.query("SELECT count(*) FROM ops.hours") == [(0,)]
        publish(storage, files)

    monkeypatch.setattr(Storage, "publish", slow)
    compact(metering)
    batch.join(20)
    assert metering.query("SELECT events FROM ops.hours") == [(80,)]
    metering.check_everything()


def test_two_at_once(metering: Metering) -> None:
    send_small_files(metering, 8)
    start = threading.Barrier(2)
    reports: list[CompactionReport] = []

    def run() -> None:
        start.wait()
        reports.append(compact(metering))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(report.merged_files for report in reports) == 24
    assert sum(report.new_files for report in reports) == 3
    metering.check_everything()


def damage(content: bytes) -> bytes:
    return content[:900] + bytes([content[900] ^ 1]) + content[901:]


@pytest.mark.parametrize("harm", [damage, lambda content: content[:-100]], ids=["flipped bit", "cut"])
def test_a_damaged_file_is_named_and_never_merged(metering: Metering, harm: Callable[[bytes], bytes]) -> None:
    send_small_files(metering)
    path = min(path for path in metering.manifest("events") if "hour=22" in path)
    file = metering.folder / path
    content = file.read_bytes()
    file.write_bytes(harm(content))
    report = compact(metering)
    assert report.damaged.keys() == {path}
    assert "is damaged: its" in report.damaged[path]
    assert path in str(report)
    assert report.hours == {NEXT_HOUR, CAME.replace(minute=0)}
    assert metering.in_folder("_staging") == set()
    file.write_bytes(content)
    assert compact(metering).hours == {HOUR}
    metering.check_everything()


def test_no_space_left(metering: Metering, monkeypatch: pytest.MonkeyPatch) -> None:
    send_small_files(metering)

    def fail(_storage: Storage, _files: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Storage, "publish", fail)
    with pytest.raises(OSError, match="No space left"):
        compact(metering)
    monkeypatch.undo()
    metering.check_everything()
    compact(metering)
    metering.check_everything()


ACTION = """
from datetime import datetime
from include.maintenance.compaction import compact_closed_hours
from include.maintenance.session import MaintenanceSession

with MaintenanceSession.open({dsn!r}, {storage!r}) as session:
    compact_closed_hours(session, datetime.fromisoformat({closed!r}), 2**20)
"""
SEAMS = [
    ("metering.archive", "Storage", "_write", "after", False),
    ("metering.archive", "Storage", "publish", "before", False),
    ("metering.archive", "Storage", "publish", "after", False),
    ("include.maintenance.session", "MaintenanceSession", "replace", "after", False),
    ("include.maintenance.session", "MaintenanceSession", "delete_files", "before", True),
    ("metering.archive", "Storage", "delete", "halfway", True),
    ("metering.archive", "Storage", "delete", "after", True),
]


@pytest.mark.parametrize("recovery", ["driver", "maintenance"])
@pytest.mark.parametrize(("module", "owner", "method", "when", "merged"), SEAMS)
def test_killed_at_every_seam(
    metering: Metering, recovery: str, module: str, owner: str, method: str, when: str, merged: bool
) -> None:
    send_small_files(metering)
    metering.batch()
    before = metering.manifest()
    action = ACTION.format(dsn=metering.database.url, storage=str(metering.folder), closed=CLOSED.isoformat())
    metering.run_and_die(action, module, owner, method, when)
    assert (metering.manifest() != before) == merged
    metering.check_manifest()
    metering.check_tables()
    if recovery == "driver":
        metering.start_driver()
        metering.check_files(metering.in_folder())
        assert metering.in_folder() == metering.manifest()
    else:
        with metering.maintenance() as session:
            session.sweep()
        assert metering.query("SELECT path FROM ops.files_to_delete") == []
    metering.check_everything()
    compact(metering)
    assert len(metering.manifest()) == 3
    assert metering.late_hours() == []
    metering.check_everything()
