"""The integrity check finds each kind of difference, names it with figures, and raises no false alarm."""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from include.maintenance import file_differences
from include.maintenance.compaction import compact_closed_hours
from include.maintenance.integrity import IntegrityReport, check_integrity
from include.maintenance.replay import Choice, Rules, replay_rejected
from metering.archive import Storage
from metering.locks import MAINTENANCE_LOCK, held

from .conftest import BROKEN, CAME, HOUR, Metering
from .test_replay import now_accepted, send_too_late

NEXT_HOUR = HOUR + timedelta(hours=1)


@pytest.fixture(autouse=True)
def _settle_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_differences, "SETTLE_SECONDS", 1.0)


@pytest.fixture
def kept(metering: Metering) -> Metering:
    """Two hours in several files, of which one is computed, and rejected records."""
    for _ in range(3):
        metering.send(metering.new_events(20) + metering.new_events(10, NEXT_HOUR), BROKEN)
    metering.batch()
    return metering


def check(metering: Metering, **options: Any) -> IntegrityReport:
    return check_integrity(metering.database.url, str(metering.folder), **options)


def an_event_file(metering: Metering) -> Path:
    return metering.folder / min(path for path in metering.manifest("events") if "hour=22" in path)


@pytest.mark.parametrize("deep", [False, True])
def test_nothing_differs(kept: Metering, deep: bool) -> None:
    report = check(kept, deep=deep)
    assert report.differences == []
    assert (report.files, report.total_rows) == (9, 99)
    how = "read whole" if deep else "compared by name and size"
    assert str(report) == f"9 files of 99 records were {how}, and compared with the tables: nothing differs"


def test_an_empty_archive(metering: Metering) -> None:
    assert check(metering, deep=True).differences == []


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("kind", ["events", "rejected"])
def test_a_missing_file(kept: Metering, kind: str, deep: bool) -> None:
    path = min(kept.manifest(kind))
    (kept.folder / path).unlink()
    (difference,) = check(kept, deep=deep).differences
    assert difference.what == f"{path}: missing"
    assert "restore it from a backup" in difference.advice


@pytest.mark.parametrize("deep", [False, True])
def test_a_cut_file(kept: Metering, deep: bool) -> None:
    file = an_event_file(kept)
    size = file.stat().st_size
    file.write_bytes(file.read_bytes()[:-1])
    (difference,) = check(kept, deep=deep).differences
    assert difference.what.endswith(f"{file.name}: damaged")
    assert difference.figures == f"{size - 1} bytes long, by the manifest {size}"


@pytest.mark.parametrize("kind", ["events", "rejected"])
def test_a_flipped_bit_is_found_by_reading(kept: Metering, kind: str) -> None:
    path = min(kept.manifest(kind))
    content = bytearray((kept.folder / path).read_bytes())
    content[len(content) // 3] ^= 4
    (kept.folder / path).write_bytes(content)
    assert check(kept).differences == []
    for options in ({"deep": True}, {"suspects": [path]}):
        (difference,) = check(kept, **options).differences
        assert difference.path == path
        assert f"is damaged: its {len(content)} bytes are not those that were written" in difference.figures


@pytest.mark.parametrize("name", ["e1-0123.parquet", "e0-0123.parquet", "copy.parquet"])
def test_an_extra_file(kept: Metering, name: str) -> None:
    file = an_event_file(kept)
    (file.parent / name).write_bytes(file.read_bytes())
    (difference,) = check(kept).differences
    assert difference.what.endswith(f"{name}: not in the manifest")
    assert difference.figures == f"{file.stat().st_size} bytes long"
    assert "count its records twice" in difference.advice


@pytest.mark.parametrize(
    ("damage", "what", "figures"),
    [
        (
            "UPDATE bytes SET value = value + 1 WHERE id = 'app-0' "
            "AND timestamp = (SELECT min(timestamp) FROM bytes WHERE id = 'app-0')",
            "hour 2023-11-14T22:00:00+00:00: the archive and bytes differ",
            "archive {all} bytes; windows in bytes: antennas {all}, devices {all}, apps {all_and_one}",
        ),
        (
            "DELETE FROM bytes_hourly WHERE type = 'mail_total_bytes'",
            "hour 2023-11-14T22:00:00+00:00: bytes_hourly and the archive differ",
            "antennas {all}, apps {all}, mails 0; the batch job read {all} bytes in 60 events; "
            "the files that it covered hold {all} bytes in 60 events",
        ),
        (
            "UPDATE ops.hours SET events = 61",
            "hour 2023-11-14T22:00:00+00:00: bytes_hourly and the archive differ",
            "read {all} bytes in 61 events; the files that it covered hold {all} bytes in 60 events",
        ),
        (
            "DELETE FROM ops.hours",
            "hour 2023-11-14T22:00:00+00:00: bytes_hourly and the archive differ",
            "the batch job read no bytes in no events",
        ),
        (
            "UPDATE ops.micro_batches SET rejected = rejected + 1 WHERE commit_id = 1",
            "rejected records: counted and kept differ",
            "10 in ops.micro_batches; 9 in the files of the manifest, 0 removed by retention",
        ),
        (
            "UPDATE ops.stream_offsets SET next_offset = 40 WHERE partition = 0",
            ": holds offsets that are not committed",
            "partition 0 of topic devices up to offset",
        ),
    ],
)
def test_tables_that_differ(kept: Metering, damage: str, what: str, figures: str) -> None:
    everything = sum(
        event["bytes"] for _, _, event in kept.accepted if event["timestamp"] < NEXT_HOUR.timestamp()
    )
    kept.query(f"{damage}")
    found = check(kept).differences
    assert found
    assert what in found[0].what
    assert figures.format(all=everything, all_and_one=everything + 1) in found[0].figures


def test_rows_that_differ_though_the_sums_agree(kept: Metering) -> None:
    kept.query("UPDATE bytes_hourly SET value = value + 1 WHERE id = 'antenna-0'")
    kept.query("UPDATE bytes_hourly SET value = value - 1 WHERE id = 'antenna-1'")
    first, second = check(kept).differences
    assert first.what == "hour 2023-11-14T22:00:00+00:00: bytes_hourly and bytes differ"
    assert first.figures.startswith("antenna_total_bytes of antenna-0: ")
    assert second.figures.startswith("antenna_total_bytes of antenna-1: ")
    assert '{"timestamp": "2023-11-14T22:00:00+00:00"}' in first.advice


def test_windows_that_differ_though_the_sums_agree_are_found_by_reading(kept: Metering) -> None:
    first = "(SELECT min(timestamp) FROM bytes WHERE id = '{0}') "
    for name, change in (("device-0", 3), ("device-1", -3)):
        kept.query(
            f"UPDATE bytes SET value = value + %s WHERE id = '{name}' AND timestamp = {first.format(name)}",
            change,
        )
    assert check(kept).differences == []
    (difference,) = check(kept, deep=True).differences
    assert (
        difference.what == "hour 2023-11-14T22:00:00+00:00: 2 rows of bytes are not what the files add up to"
    )
    assert "user_total_bytes of device-0 at 22:0" in difference.figures


@pytest.mark.parametrize(
    ("change", "figures"),
    [
        ("rows = rows + 1", "rows 20, by the manifest 21"),
        ("total_bytes = total_bytes + 1", "by the manifest"),
        (
            "offsets = jsonb_set(offsets, '{1, 1}', '8')",
            "offsets {0: (0, 9), 1: (0, 9)}, by the manifest {0: (0, 9), 1: (0, 8)}",
        ),
    ],
)
def test_a_row_of_the_manifest_that_is_wrong(kept: Metering, change: str, figures: str) -> None:
    path = str(an_event_file(kept).relative_to(kept.folder))
    kept.query(f"UPDATE ops.archive_files SET {change} WHERE path = %s", path)
    found = [
        difference.figures for difference in check(kept, deep=True).differences if difference.path == path
    ]
    assert any(figures in text for text in found)


def test_a_file_of_another_hour(kept: Metering) -> None:
    path = str(an_event_file(kept).relative_to(kept.folder))
    kept.query("UPDATE ops.archive_files SET hour = %s WHERE path = %s", NEXT_HOUR, path)
    found = [
        difference.figures for difference in check(kept, deep=True).differences if difference.path == path
    ]
    assert (
        "rows of another hour or topic than 2023-11-14T23:00:00+00:00 devices 20, by the manifest 0"
        in found[0]
    )


@pytest.mark.parametrize("deep", [False, True])
def test_a_record_in_two_files(kept: Metering, deep: bool) -> None:
    """As only a broken commit could leave it; the ranges of offsets overlap, so no deep check is needed."""
    file = an_event_file(kept)
    path = str(file.relative_to(kept.folder))
    copy = file.with_name("e1-again.parquet")
    copy.write_bytes(file.read_bytes())
    kept.query(
        "INSERT INTO ops.archive_files SELECT (replaced).* FROM (SELECT jsonb_populate_record("
        "file, jsonb_build_object('path', %s::text)) AS replaced "
        "FROM ops.archive_files AS file WHERE path = %s) AS copied",
        str(copy.relative_to(kept.folder)),
        path,
    )
    found = [
        difference for difference in check(kept, deep=deep).differences if "kept twice" in difference.what
    ]
    assert [difference.figures for difference in found] == [
        "20 records, the first of them topic devices partition 0 offset 0"
    ]


def test_ranges_of_a_replay_overlap_rightly(metering: Metering) -> None:
    events = metering.new_events(4)
    late = send_too_late(metering, 3)
    metering.send(events)
    more = send_too_late(metering, 3)
    with metering.maintenance() as session:
        replay_rejected(session, Choice(), Rules(600, 86_400))
    now_accepted(metering, late + more)
    metering.send(metering.new_events(4))
    metering.batch()
    assert check(metering).differences == []
    metering.check_everything()


def test_what_a_crash_left_is_no_difference_while_maintenance_is_at_work(kept: Metering) -> None:
    left = an_event_file(kept).with_name("e1-replaced.parquet")
    left.write_bytes(b"")
    kept.query("INSERT INTO ops.files_to_delete (path) VALUES (%s)", str(left.relative_to(kept.folder)))
    with kept.database.connect() as connection, held(connection, MAINTENANCE_LOCK):
        assert check(kept).differences == []
    assert len(check(kept).differences) == 1
    with kept.maintenance() as session:
        session.sweep()
    assert check(kept).differences == []


def test_a_file_that_is_committed_or_replaced_after_the_snapshot(
    kept: Metering, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = Storage.files

    def meanwhile(storage: Storage, folder: str) -> dict[str, int]:
        monkeypatch.setattr(Storage, "files", files)
        kept.send(kept.new_events(5), BROKEN)
        with kept.maintenance() as session:
            compact_closed_hours(session, CAME + timedelta(hours=1), 2**20)
        return files(storage, folder)

    monkeypatch.setattr(Storage, "files", meanwhile)
    assert check(kept, deep=True).differences == []
    kept.check_everything()


def test_beside_a_running_stream_with_compaction_batches_and_replays(metering: Metering) -> None:
    stop = threading.Event()
    failures: list[BaseException] = []
    late: list[dict[str, Any]] = []

    def repeat(work: Callable[[], object]) -> threading.Thread:
        def run() -> None:
            try:
                while not stop.is_set():
                    work()
            except BaseException as error:
                failures.append(error)
                raise

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def stream() -> None:
        metering.send(metering.new_events(20), BROKEN)
        late.extend(send_too_late(metering, 2))

    def maintain() -> None:
        with metering.maintenance() as session:
            session.sweep()
            compact_closed_hours(session, CAME + timedelta(hours=1), 2**14)
            replay_rejected(session, Choice(), Rules(600, 86_400))

    checks = 0
    threads = [repeat(stream), repeat(maintain), repeat(metering.batch)]
    try:
        for deep in _alternating(12):
            report = check(metering, deep=deep)
            assert report.differences == [], str(report)
            checks += 1
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    assert failures == []
    assert checks == 12
    maintain()
    now_accepted(metering, late)
    metering.batch()
    metering.check_everything()


def _alternating(count: int) -> Iterator[bool]:
    return (number % 2 == 1 for number in range(count))
