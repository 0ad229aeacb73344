"""When a streaming driver counts as hung."""

from datetime import UTC, datetime, timedelta

import pytest

from antenna_airflow.watchdog import Heartbeat, HeartbeatWatch

DRIVER = 42
OURS = {41, DRIVER, 43}
BEGIN = datetime(2026, 11, 24, tzinfo=UTC)


@pytest.fixture
def watch() -> HeartbeatWatch:
    return HeartbeatWatch(started=1000.0, start_limit=180, hang_limit=60, leftover_limit=15)


def beat(seconds: float, pid: int = DRIVER) -> Heartbeat:
    return Heartbeat(pid, BEGIN + timedelta(seconds=seconds))


def test_a_driver_that_beats_is_left_alone(watch: HeartbeatWatch) -> None:
    for second in range(0, 3600, 5):
        assert watch.judge(1000.0 + second, beat(second), OURS) is None


def test_a_heartbeat_that_stands_still_is_a_hang(watch: HeartbeatWatch) -> None:
    watch.judge(1010, beat(10), OURS)
    assert watch.judge(1070, beat(10), OURS) is None
    assert watch.judge(1071, beat(10), OURS) == "the driver wrote no heartbeat for 61 s (limit 60 s)"


def test_the_clocks_of_the_machines_do_not_matter(watch: HeartbeatWatch) -> None:
    """The database's clock may be days off, or be set back."""
    assert watch.judge(1010, beat(-90_000), OURS) is None
    assert watch.judge(1060, beat(-180_000), OURS) is None
    assert watch.judge(1119, beat(-180_000), OURS) is None


def test_a_driver_that_never_reports_is_given_time_to_start(watch: HeartbeatWatch) -> None:
    assert watch.judge(1180, None, OURS) is None
    assert (
        watch.judge(1181, None, OURS)
        == "the driver did not report its first heartbeat for 181 s (limit 180 s)"
    )


def test_the_heartbeat_of_another_driver_does_not_count(watch: HeartbeatWatch) -> None:
    assert watch.judge(1179, beat(179, pid=7), OURS) is None
    assert "first heartbeat" in str(watch.judge(1181, beat(181, pid=7), OURS))
    watch.judge(1200, beat(200), OURS)
    for second in range(205, 261, 5):
        assert watch.judge(1000 + second, beat(second, pid=7), OURS) is None
    assert "wrote no heartbeat" in str(watch.judge(1261, beat(261, pid=7), OURS))


def test_a_driver_that_is_gone_while_its_jvm_lingers_is_a_leftover(watch: HeartbeatWatch) -> None:
    watch.judge(1010, beat(10), OURS)
    assert watch.judge(1025, beat(10), {41}) is None
    assert watch.judge(1026, beat(10), {41}) == (
        "the driver has ended, but processes around it have not for 16 s (limit 15 s)"
    )


def test_what_cannot_be_observed_is_not_held_against_the_driver(watch: HeartbeatWatch) -> None:
    watch.judge(1010, beat(10), OURS)
    watch.pause(1065)
    assert watch.judge(1120, beat(10), OURS) is None
    assert watch.judge(1126, beat(10), OURS) is not None
