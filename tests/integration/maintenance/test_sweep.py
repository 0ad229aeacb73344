"""Drivers and maintenance remove what the others left, and never what the others are about to commit."""

from datetime import timedelta
from typing import Any

import psycopg
import pytest

from include.maintenance.compaction import compact_closed_hours
from include.maintenance.session import MaintenanceError, MaintenanceSession
from metering.archive import Storage
from metering.locks import MAINTENANCE_LOCK, held

from .conftest import BROKEN, CAME, Metering


def sweep(metering: Metering) -> set[str]:
    with metering.maintenance() as session:
        return set(session.sweep())


def compact(metering: Metering) -> int:
    with metering.maintenance() as session:
        return compact_closed_hours(session, CAME + timedelta(hours=1), 2**20).merged_files


def copy_of(metering: Metering, epoch: int) -> str:
    """A file such as a driver leaves that dies before its commit."""
    source = metering.folder / min(metering.manifest("events"))
    target = source.with_name(f"e{epoch}-left.parquet")
    target.write_bytes(source.read_bytes())
    return str(target.relative_to(metering.folder))


def test_maintenance_removes_what_dead_drivers_and_maintenance_left(metering: Metering) -> None:
    metering.send(metering.new_events(10), BROKEN)
    metering.start_driver()
    metering.start_driver()
    left = {copy_of(metering, epoch) for epoch in (0, 1, 2)}
    may_be_committed = {copy_of(metering, epoch) for epoch in (3, 4)}
    staged = metering.folder / "_staging/epoch=2/e2-x.parquet"
    staged.parent.mkdir(exist_ok=True)
    staged.write_bytes(b"")
    assert sweep(metering) == left | {"_staging/epoch=2/e2-x.parquet"}
    assert metering.in_folder() == metering.manifest() | may_be_committed


def test_maintenance_keeps_the_files_of_strangers(metering: Metering) -> None:
    metering.send(metering.new_events(10))
    stranger = metering.folder / "events/mine.parquet"
    stranger.write_bytes(b"")
    assert sweep(metering) == set()
    assert stranger.exists()


def test_a_driver_removes_what_a_dead_maintenance_left(metering: Metering) -> None:
    metering.send(metering.new_events(10))
    left = copy_of(metering, 0)
    assert metering.start_driver() == [left]
    metering.check_everything()


def test_a_driver_that_starts_keeps_what_maintenance_is_about_to_commit(
    metering: Metering, monkeypatch: pytest.MonkeyPatch
) -> None:
    metering.send(metering.new_events(10))
    metering.send(metering.new_events(10))
    left = copy_of(metering, 1)
    publish = Storage.publish
    swept: list[str] = []

    def then_start_driver(storage: Storage, files: Any) -> None:
        monkeypatch.undo()
        publish(storage, files)
        swept.extend(metering.start_driver())

    monkeypatch.setattr(Storage, "publish", then_start_driver)
    assert compact(metering) == 2
    assert swept == [left]
    metering.check_everything()


def test_maintenance_keeps_what_a_driver_is_about_to_commit(
    metering: Metering, monkeypatch: pytest.MonkeyPatch
) -> None:
    metering.send(metering.new_events(10))
    publish = Storage.publish
    swept: list[set[str]] = []

    def then_sweep(storage: Storage, files: Any) -> None:
        monkeypatch.undo()
        swept.append(sweep(metering))
        publish(storage, files)
        swept.append(sweep(metering))

    monkeypatch.setattr(Storage, "publish", then_sweep)
    metering.send(metering.new_events(10), BROKEN)
    assert swept == [set(), set()]
    metering.check_everything()


def test_a_superseded_driver_that_wakes_up_removes_nothing(
    metering: Metering, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stopped between its listing of the folders and its deletions, and others went on meanwhile."""
    metering.send(metering.new_events(10))
    delete = Storage.delete

    def after_the_others(storage: Storage, paths: Any) -> None:
        monkeypatch.undo()
        other = Metering.__new__(Metering)
        other.__dict__.update(metering.__dict__)
        Metering.__post_init__(other)
        other.send(other.new_events(10), BROKEN)
        delete(storage, paths)

    monkeypatch.setattr(Storage, "delete", after_the_others)
    metering.start_driver()
    metering.check_everything()


def test_two_maintenances_take_turns(metering: Metering, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("include.maintenance.session._LOCK_TIMEOUT", "200ms")
    metering.send(metering.new_events(10))
    with (
        metering.database.connect() as connection,
        held(connection, MAINTENANCE_LOCK),
        pytest.raises(MaintenanceError, match="another process has kept what this one needs for 200ms"),
    ):
        sweep(metering)
    assert sweep(metering) == set()


def test_a_maintenance_that_lost_its_session_commits_nothing(
    metering: Metering, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off after it published: its lock is free, a driver sweeps its file, and it cannot commit."""
    metering.send(metering.new_events(10))
    metering.send(metering.new_events(10))
    before = metering.manifest()
    replace = MaintenanceSession.replace

    def cut_off(session: MaintenanceSession, *args: Any) -> None:
        monkeypatch.undo()
        metering.query("SELECT pg_terminate_backend(%s)", session.connection.info.backend_pid)
        assert len(metering.start_driver()) == 1
        replace(session, *args)

    monkeypatch.setattr(MaintenanceSession, "replace", cut_off)
    with pytest.raises(Exception, match="terminating connection"):
        compact(metering)
    assert metering.manifest() == before
    metering.check_everything()


def test_a_second_try_begins_with_what_the_first_left(
    metering: Metering, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL restarts before the merged file is published: nobody can tell whether it was committed."""
    metering.send(metering.new_events(10))
    metering.send(metering.new_events(10))
    publish = Storage.publish

    def cut_off_first(storage: Storage, files: Any) -> None:
        monkeypatch.undo()
        metering.query(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid = %s",
            MAINTENANCE_LOCK[0],
        )
        publish(storage, files)

    monkeypatch.setattr(Storage, "publish", cut_off_first)
    with pytest.raises(psycopg.OperationalError):
        compact(metering)
    assert len(metering.in_folder() - metering.manifest()) == 1
    metering.check_manifest()
    assert compact(metering) == 2
    metering.check_everything()


def test_files_to_delete_are_deleted_although_their_driver_lives(metering: Metering) -> None:
    metering.send(metering.new_events(10))
    left = copy_of(metering, 1)
    metering.query("INSERT INTO ops.files_to_delete (path) VALUES (%s)", left)
    assert sweep(metering) == {left}
    metering.check_everything()
