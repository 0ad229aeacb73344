"""Rejected records that the rules of today accept are counted once, whatever happens, on real PostgreSQL."""

import json
import threading
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest

from include.maintenance.compaction import compact_closed_hours
from include.maintenance.replay import Choice, ReplayReport, Rules, replay_rejected
from include.maintenance.retention import Ages, apply_retention
from include.maintenance.session import MaintenanceError, MaintenanceSession
from metering.archive import Storage, StorageError
from metering.events import INT64_MAX, Limits, decode_records

from .conftest import BROKEN, CAME, HOUR, Metering

# CAME is 8.5 hours after HOUR: what was too old for the stream then is not for these rules.
STRICT = Limits(newest=int(CAME.timestamp()) + 600, oldest=int(CAME.timestamp()) - 3600)
WIDE = Rules(max_future=600, max_lateness=86_400)


def replay(metering: Metering, choice: Choice | None = None, rules: Rules = WIDE) -> ReplayReport:
    with metering.maintenance() as session:
        return replay_rejected(session, choice or Choice(), rules)


def send_too_late(metering: Metering, count: int, came: datetime = CAME) -> list[dict[str, Any]]:
    """Events that the stream rejects since they are too old, among broken records; returns them."""
    events = metering.new_events(count)
    shift = int((came - CAME).total_seconds())
    limits = Limits(STRICT.newest + shift, (STRICT.oldest or 0) + shift)
    metering.send([], [*map(encoded, events), *BROKEN], came=came, limits=limits)
    return events


def encoded(event: dict[str, Any]) -> bytes:
    return json.dumps(event).encode()


def now_accepted(metering: Metering, events: list[dict[str, Any]]) -> None:
    """Move events from the rejected to the accepted ones in the account of what was sent."""
    wanted = {encoded(event): event for event in events}
    moved = [record for record in metering.rejected if record[2] in wanted]
    assert len(moved) == len(events)
    metering.rejected = [record for record in metering.rejected if record[2] not in wanted]
    metering.accepted += [(partition, offset, wanted[value]) for partition, offset, value in moved]


def reasons(metering: Metering) -> dict[str, int]:
    rows = metering.query(
        "SELECT key, sum(value::bigint)::bigint FROM ops.micro_batches, jsonb_each_text(rejected_by_reason) "
        "GROUP BY key HAVING sum(value::bigint) <> 0"
    )
    return dict(rows)


def test_records_that_came_too_late_are_accepted_by_wider_limits(metering: Metering) -> None:
    metering.send(metering.new_events(20))
    metering.batch()
    late = send_too_late(metering, 15)
    metering.check_everything()
    assert metering.late_hours() == []
    report = replay(metering)
    now_accepted(metering, late)
    assert report.accepted == {"too_late": 15}
    assert report.still_rejected == {"not_json": 1, "not_an_object": 1, "missing_field": 1}
    assert report.late_hours == {HOUR}
    assert reasons(metering) == {"not_json": 1, "not_an_object": 1, "missing_field": 1}
    assert metering.query("SELECT accepted, rejected FROM ops.micro_batches WHERE is_replay") == [(15, -15)]
    assert metering.late_hours() == [HOUR]
    metering.check_everything()
    metering.batch()
    assert metering.late_hours() == []
    metering.check_everything()


def test_again_changes_nothing(metering: Metering) -> None:
    now_accepted_later = send_too_late(metering, 5)
    replay(metering)
    now_accepted(metering, now_accepted_later)
    before = metering.query("SELECT path, commit_id FROM ops.archive_files ORDER BY 1")
    assert replay(metering).accepted.total() == 0
    assert metering.query("SELECT path, commit_id FROM ops.archive_files ORDER BY 1") == before
    metering.check_everything()


def test_nothing_is_left_of_a_file_whose_records_are_all_accepted(metering: Metering) -> None:
    late = metering.new_events(6)
    metering.send([], list(map(encoded, late)), limits=STRICT)
    replay(metering)
    now_accepted(metering, late)
    assert metering.manifest("rejected") == set()
    metering.check_everything()


def test_a_mended_rule(metering: Metering, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream was deployed with a broken rule, which refused an app; then it was mended."""

    def broken_rule(records: Any, limits: Limits) -> Any:
        return decode_records([record.replace(b'"app": "app-1"', b'"app": ""') for record in records], limits)

    events = metering.new_events(30)
    good = [event for event in events if event["app"] == "app-0"]
    refused = [event for event in events if event["app"] == "app-1"]
    monkeypatch.setattr("metering.executor_pass.decode_records", broken_rule)
    metering.send(good, list(map(encoded, refused)))
    monkeypatch.undo()
    assert reasons(metering) == {"empty_field": 15}
    assert replay(metering).accepted == {"empty_field": 15}
    now_accepted(metering, refused)
    assert reasons(metering) == {}
    metering.check_everything()


def test_another_reason_than_before_is_kept_and_counted(metering: Metering) -> None:
    send_too_late(metering, 4)
    report = replay(metering, rules=Rules(max_future=1, max_lateness=3600))
    assert report.accepted.total() == 0
    # Judged by limits under which every event is ahead of its time.
    replay(metering, rules=Rules(max_future=-100_000, max_lateness=None))
    assert reasons(metering) == {"in_the_future": 4, "not_json": 1, "not_an_object": 1, "missing_field": 1}
    assert metering.query("SELECT accepted, rejected FROM ops.micro_batches WHERE is_replay") == [(0, 0)]
    metering.check_everything()


def test_limits_are_those_of_the_moment_when_the_record_came(metering: Metering) -> None:
    """Time that passes makes no record from a fast clock acceptable, and none from an outage too old."""
    ahead = [{**event, "timestamp": int(CAME.timestamp()) + 7200} for event in metering.new_events(3)]
    metering.send([], list(map(encoded, ahead)), limits=STRICT)
    late = send_too_late(metering, 3)
    report = replay(metering, rules=Rules(max_future=600, max_lateness=9 * 3600))
    assert report.accepted == {"too_late": 3}
    assert report.still_rejected["in_the_future"] == 3
    now_accepted(metering, late)
    metering.check_everything()


def test_choice_by_reason_and_time(metering: Metering) -> None:
    early = send_too_late(metering, 3, CAME)
    middle = send_too_late(metering, 4, CAME + timedelta(minutes=10))
    later = send_too_late(metering, 5, CAME + timedelta(hours=2))
    assert replay(metering, Choice(reasons=("not_json",))).accepted.total() == 0
    chosen = Choice(("too_late",), CAME + timedelta(minutes=5), CAME + timedelta(hours=1))
    assert replay(metering, chosen).accepted == {"too_late": 4}
    now_accepted(metering, middle)
    metering.check_everything()
    assert replay(metering, Choice(came_from=CAME + timedelta(minutes=5))).accepted == {"too_late": 5}
    now_accepted(metering, later)
    assert replay(metering, Choice(came_before=CAME)).accepted.total() == 0
    assert replay(metering).accepted == {"too_late": 3}
    now_accepted(metering, early)
    metering.check_everything()


def test_an_unknown_reason(metering: Metering) -> None:
    with pytest.raises(MaintenanceError, match="reason too_old is none of not_json"):
        replay(metering, Choice(reasons=("too_old",)))


def test_small_files_are_taken_up_together_and_merged_ones_too(metering: Metering) -> None:
    late = [event for _ in range(4) for event in send_too_late(metering, 3)]
    replay(metering)
    now_accepted(metering, late)
    assert len(metering.manifest("rejected")) == len(metering.manifest("events")) == 1
    again = send_too_late(metering, 3)
    with metering.maintenance() as session:
        compact_closed_hours(session, CAME + timedelta(hours=1), 2**20)
    replay(metering)
    now_accepted(metering, again)
    with metering.maintenance() as session:
        compact_closed_hours(session, CAME + timedelta(hours=1), 2**20)
    assert len(metering.manifest()) == 2
    metering.check_everything()


def test_a_sum_beyond_bigint_leaves_the_records_rejected(metering: Metering) -> None:
    (big, small) = (
        {**event, "bytes": value, "timestamp": int(HOUR.timestamp())}
        for event, value in zip(metering.new_events(2), (INT64_MAX, 1), strict=True)
    )
    small |= {name: big[name] for name in ("id", "app", "antenna_id")}
    metering.send([big])
    metering.send([], [encoded(small)], limits=STRICT)
    with pytest.raises(MaintenanceError, match="stay rejected, since a sum would not fit BIGINT"):
        replay(metering)
    metering.check_everything()


def test_events_of_hours_without_an_archive_stay_rejected(metering: Metering) -> None:
    metering.send(metering.new_events(5))
    metering.batch()
    late = send_too_late(metering, 3)
    other = metering.new_events(2, HOUR + timedelta(hours=1))
    metering.send([], list(map(encoded, other)), limits=STRICT)
    with metering.maintenance() as session:
        assert apply_retention(session, Ages(events=1)).event_hours == 1
    report = replay(metering)
    assert report.hour_removed == len(late)
    assert report.accepted == {"too_late": 2}
    assert report.still_rejected["too_late"] == 3
    assert reasons(metering)["too_late"] == 3
    assert metering.late_hours() == []


def test_a_damaged_file_stays_as_it_is(metering: Metering) -> None:
    late = send_too_late(metering, 3)
    (path,) = metering.manifest("rejected")
    content = (metering.folder / path).read_bytes()
    (metering.folder / path).write_bytes(content[:-10])
    with pytest.raises(StorageError, match=path):
        replay(metering)
    (metering.folder / path).write_bytes(content)
    metering.check_everything()
    replay(metering)
    now_accepted(metering, late)
    metering.check_everything()


def test_two_at_once_count_a_record_once(metering: Metering) -> None:
    late = [event for _ in range(5) for event in send_too_late(metering, 4)]
    start = threading.Barrier(2)
    reports: list[ReplayReport] = []

    def run() -> None:
        start.wait()
        reports.append(replay(metering))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum((report.accepted for report in reports), Counter()) == {"too_late": len(late)}
    now_accepted(metering, late)
    metering.check_everything()


def test_the_stream_commits_meanwhile(metering: Metering, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commit ids grow in the order of the commits, so that a batch between the two misses neither."""
    late = send_too_late(metering, 3)
    replace = MaintenanceSession.replace
    commit_ids: list[int] = []

    def commit_meanwhile(session: MaintenanceSession, *args: Any) -> None:
        monkeypatch.undo()
        stream = threading.Thread(target=lambda: commit_ids.append(metering.send(metering.new_events(4))))
        stream.start()
        stream.join(1)
        # It waits for the topic, which the replay holds.
        assert stream.is_alive()
        metering.batch()
        replace(session, *args)
        threads.append(stream)

    threads: list[threading.Thread] = []
    metering.send(metering.new_events(5))
    monkeypatch.setattr(MaintenanceSession, "replace", commit_meanwhile)
    replay(metering)
    threads[0].join(30)
    now_accepted(metering, late)
    ((replayed,),) = metering.query("SELECT commit_id FROM ops.micro_batches WHERE is_replay")
    assert replayed < commit_ids[0]
    assert metering.late_hours() == [HOUR]
    metering.check_everything()
    metering.batch()
    metering.check_everything()


ACTION = """
from include.maintenance.replay import Choice, Rules, replay_rejected
from include.maintenance.session import MaintenanceSession

with MaintenanceSession.open({dsn!r}, {storage!r}) as session:
    replay_rejected(session, Choice(), Rules(600, 86_400))
"""
SEAMS = [
    ("metering.archive", "Storage", "_write", "after", False),
    ("metering.archive", "Storage", "publish", "before", False),
    ("metering.archive", "Storage", "publish", "halfway", False),
    ("metering.archive", "Storage", "publish", "after", False),
    ("include.maintenance.session", "MaintenanceSession", "replace", "before", False),
    ("include.maintenance.session", "MaintenanceSession", "replace", "after", False),
    ("include.maintenance.session", "MaintenanceSession", "delete_files", "before", True),
    ("metering.archive", "Storage", "delete", "after", True),
]


@pytest.mark.parametrize("recovery", ["driver", "maintenance"])
@pytest.mark.parametrize(("module", "owner", "method", "when", "replayed"), SEAMS)
def test_killed_at_every_seam(
    metering: Metering, recovery: str, module: str, owner: str, method: str, when: str, replayed: bool
) -> None:
    metering.send(metering.new_events(10))
    metering.batch()
    late = send_too_late(metering, 6)
    action = ACTION.format(dsn=metering.database.url, storage=str(metering.folder))
    metering.run_and_die(action, module, owner, method, when)
    if replayed:
        now_accepted(metering, late)
    metering.check_manifest()
    metering.check_tables()
    if recovery == "driver":
        metering.start_driver()
        metering.check_files(metering.in_folder())
        assert metering.in_folder() == metering.manifest()
    else:
        with metering.maintenance() as session:
            session.sweep()
    metering.check_everything()
    assert replay(metering).accepted.total() == (0 if replayed else len(late))
    if not replayed:
        now_accepted(metering, late)
    assert metering.late_hours() == [HOUR]
    metering.batch()
    metering.check_everything()


def test_no_space_left(metering: Metering, monkeypatch: pytest.MonkeyPatch) -> None:
    late = send_too_late(metering, 3)

    def fail(_storage: Storage, _files: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Storage, "publish", fail)
    with pytest.raises(OSError, match="No space left"):
        replay(metering)
    monkeypatch.undo()
    metering.check_everything()
    replay(metering)
    now_accepted(metering, late)
    metering.check_everything()
