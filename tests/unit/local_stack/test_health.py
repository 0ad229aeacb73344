"""The stream's health in words."""

from dataclasses import replace

import pytest

from include.local_stack.health import StreamFigures, judge_stream

GOOD = StreamFigures(
    state="running",
    message="",
    epoch=3,
    driver_pid=4711,
    spark_ui_url="http://127.0.0.1:4040",
    started_age=3600,
    heartbeat_age=1,
    commit_age=2,
    lag=150,
    caught_up_age=None,
    records_per_second=100,
    lost_records=0,
)


@pytest.mark.parametrize(
    ("changes", "word", "healthy", "why"),
    [
        ({}, "running", True, "what has come is counted"),
        ({"lag": 0, "caught_up_age": 1, "commit_age": 9000}, "running", True, "everything is counted"),
        ({"lag": 50_000}, "catching up", True, "50,000 records wait, about 500 s to go"),
        ({"lag": 50_000, "records_per_second": 0}, "catching up", True, "50,000 records wait"),
        ({"lag": 50_000, "records_per_second": 20_000}, "running", True, "what has come is counted"),
        ({"commit_age": None, "started_age": 10}, "starting", True, "the first micro-batch is under way"),
        ({"commit_age": None, "started_age": 31}, "stalled", False, "nothing was committed for 31 s"),
        # The driver has just been replaced: the age of its predecessor's commit says nothing about it.
        ({"commit_age": 900, "started_age": 10}, "running", True, "what has come is counted"),
        ({"commit_age": 31}, "stalled", False, "150 records wait and nothing was committed for 31 s"),
        ({"heartbeat_age": 21}, "stalled", False, "the driver (pid 4711) gave no sign of life for 21 s"),
        ({"lost_records": 1200}, "running", False, "1,200 records were removed from Kafka"),
        ({"state": "stopped"}, "stopped", False, "the last driver stopped"),
        ({"state": "failed", "message": "no space"}, "stopped", False, "the last driver failed: no space"),
    ],
)
def test_judgement(changes: dict[str, object], word: str, healthy: bool, why: str) -> None:
    health = judge_stream(replace(GOOD, **changes))  # type: ignore[arg-type]
    assert (health.word, health.healthy) == (word, healthy)
    assert why in health.why
    assert bool(health.advice) is not healthy


def test_without_a_driver_it_says_what_to_turn_on() -> None:
    health = judge_stream(None)
    assert (health.word, health.healthy) == ("stopped", False)
    assert "turn on the DAG antenna_streaming" in health.advice
