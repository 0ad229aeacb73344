"""The DAGs maintenance and replay_rejected as a whole, on real services."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.integration.conftest import RunDag

from .conftest import BROKEN, CAME, HOUR, Metering
from .test_replay import now_accepted, send_too_late

SUCCEEDED = dict.fromkeys(
    ("sweep_leftovers", "compact_closed_hours", "remove_old", "check_integrity"), "success"
)


@pytest.fixture
def archive(
    metering: Metering,
    postgres_connection: object,
    monkeypatch: pytest.MonkeyPatch,
) -> Metering:
    """Airflow's connection and Variables lead to the metered archive."""
    monkeypatch.setenv("AIRFLOW_VAR_ANTENNA_STORAGE", str(metering.folder))
    monkeypatch.setenv("AIRFLOW_VAR_ANTENNA_MAX_LATENESS", "86400")
    for _ in range(3):
        metering.send(metering.new_events(10), BROKEN)
    metering.batch()
    # The stream has consumed everything, so that the hours are sealed.
    metering.query("UPDATE ops.stream_offsets SET caught_up_at = now()")
    return metering


def test_maintenance(archive: Metering, run_dag: RunDag) -> None:
    assert run_dag("maintenance") == ("success", SUCCEEDED)
    assert len(archive.manifest("events")) == 1
    archive.check_everything()


def test_maintenance_before_the_stream_has_started(
    postgres_connection: object,
    run_dag: RunDag,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: object,
) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_ANTENNA_STORAGE", f"{tmp_path}/storage")
    assert run_dag("maintenance") == ("success", SUCCEEDED)


def test_maintenance_removes_what_is_too_old(archive: Metering, run_dag: RunDag) -> None:
    assert run_dag("maintenance", {"keep_events_days": 2, "keep_rejected_days": 1})[0] == "success"
    assert archive.in_folder() == archive.manifest() == set()
    assert archive.query("SELECT count(*) > 0 FROM bytes") == [(True,)]


def test_an_age_below_the_lateness_of_events_is_refused(
    archive: Metering,
    run_dag: RunDag,
    task_log: Callable[[], str],
) -> None:
    state, tasks = run_dag("maintenance", {"keep_events_days": 1})
    assert (state, tasks) == ("failed", {**SUCCEEDED, "remove_old": "failed"})
    assert "events of 1 days cannot go while the stream accepts events that are 86400 seconds" in task_log()
    archive.check_everything()


@pytest.mark.parametrize("conf", [{"keep_bytes_days": 0}, {"deep": "yes"}, {"target_file_mb": None}])
def test_params_that_cannot_be_are_refused(run_dag: RunDag, conf: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"Invalid input for param {next(iter(conf))}"):
        run_dag("maintenance", conf)


def test_a_damaged_file_fails_the_check_by_its_name(
    archive: Metering,
    run_dag: RunDag,
    task_log: Callable[[], str],
) -> None:
    """Compaction came upon it, so that it is found although the check does not read every file."""
    path = min(archive.manifest("events"))
    content = bytearray((archive.folder / path).read_bytes())
    content[100] ^= 1
    (archive.folder / path).write_bytes(content)
    state, tasks = run_dag("maintenance")
    assert (state, tasks) == ("failed", {**SUCCEEDED, "check_integrity": "failed"})
    log = task_log()
    assert f"{path}: damaged" in log
    assert "next: restore it from a backup" in log
    content[100] ^= 1
    (archive.folder / path).write_bytes(content)
    assert run_dag("maintenance", {"deep": True}) == ("success", SUCCEEDED)
    archive.check_everything()


def test_replay_rejected(archive: Metering, run_dag: RunDag) -> None:
    late = send_too_late(archive, 5)
    assert run_dag("replay_rejected", {"reason": "not_json"})[0] == "success"
    archive.check_everything()
    conf: dict[str, object] = {
        "reason": "too_late",
        "came_from": CAME.isoformat(),
        "came_before": (CAME + timedelta(minutes=1)).isoformat(),
    }
    assert run_dag("replay_rejected", conf) == ("success", {"take_up_rejected_records": "success"})
    now_accepted(archive, late)
    assert archive.late_hours() == [HOUR]
    archive.check_everything()


@pytest.mark.parametrize("conf", [{"reason": "too_old"}, {"came_from": "2023-11-15T06:30:00"}])
def test_a_replay_of_what_cannot_be_is_refused(run_dag: RunDag, conf: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"Invalid input for param {next(iter(conf))}"):
        run_dag("replay_rejected", conf)


def test_an_hour_whose_archive_was_removed_is_refused_before_spark_starts(
    archive: Metering,
    run_dag: RunDag,
    task_log: Callable[[], str],
) -> None:
    assert run_dag("maintenance", {"keep_events_days": 2})[0] == "success"
    hourly = archive.query("SELECT * FROM bytes_hourly ORDER BY 1, 2, 3, 4")
    state, tasks = run_dag("antenna_batch", {"timestamp": HOUR.isoformat()})
    assert (state, tasks["choose_hour"], tasks["compute_hour"]) == ("failed", "failed", "upstream_failed")
    assert f"the archive of the hour {HOUR.isoformat()} was removed by retention" in task_log()
    assert archive.query("SELECT * FROM bytes_hourly ORDER BY 1, 2, 3, 4") == hourly
