"""What the jobs tell machines: metrics to a collector, and lines of JSON."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.otlp_collector import OtlpCollector

HOUR = 1_600_603_200


def event(size: int) -> bytes:
    fields = {"bytes": size, "timestamp": HOUR + size, "app": "SKYPE", "id": "d", "antenna_id": "a"}
    return json.dumps(fields).encode()


@pytest.fixture
def collector() -> Iterator[OtlpCollector]:
    made = OtlpCollector()
    yield made
    made.stop()


def lines(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def test_metrics_and_json(jobs: Any, collector: OtlpCollector) -> None:
    jobs.send([*map(event, range(1, 101)), b"broken", b"[]", event(5).replace(b'"a"', b'""')])
    told = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "ANTENNA_LOG_FORMAT": "json"}
    streamed = jobs.stream(**told)
    assert streamed.returncode == 0, streamed.stdout
    ((by_reason,),) = jobs.query("SELECT rejected_by_reason FROM ops.micro_batches")
    assert sum(by_reason.values()) == 3
    stream = collector.newest("antenna-streaming")
    assert {name: value for name, value in stream.items() if name[0] == "antenna.events"} == {
        ("antenna.events", "result=accepted"): 100,
        **{("antenna.events", f"reason={reason},result=rejected"): n for reason, n in by_reason.items()},
    }
    assert stream["antenna.bytes", ""] == 5050
    assert stream["antenna.freshness", ""] > 100_000_000
    assert stream["antenna.commit.duration", ""] > 0
    assert collector.resource("antenna-streaming")["epoch"] == "1"
    (committed,) = [line for line in lines(streamed.stdout) if line["message"] == "committed a micro-batch"]
    assert (committed["topic"], committed["epoch"], committed["level"]) == (jobs.topic, 1, "debug")
    assert committed["offsets"] == {"0": [0, 103]}
    assert (committed["accepted"], committed["rejected"], committed["bytes"]) == (100, by_reason, 5050)

    computed = jobs.batch("2020-09-20T12:00:00Z", **told)
    assert computed.returncode == 0, computed.stdout
    assert collector.newest("antenna-batch")["antenna.hour.events", ""] == 100
    (hour,) = lines(computed.stdout)
    assert (hour["hour"], hour["bytes"], hour["commit_id"]) == ("2020-09-20T12:00:00+00:00", 5050, 1)


def test_a_collector_that_is_away_holds_nothing_up(jobs: Any) -> None:
    jobs.send([event(7)])
    streamed = jobs.stream(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    assert streamed.returncode == 0, streamed.stdout
    assert jobs.query("SELECT sum(accepted)::bigint FROM ops.micro_batches") == [(1,)]
