"""The DAGs on a Spark standalone cluster: only the connection spark_default names another master.

The same stack sends its metrics to a collector, as whoever runs a cluster has one.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from include.local_stack import processes
from include.simulator.generator import Traffic
from tests.drills.airflow_stack import AirflowStack
from tests.drills.batch import BatchServer
from tests.otlp_collector import OtlpCollector
from tests.spark_cluster import WORKERS, SparkCluster

COMPUTED = "SELECT count(*) FROM ops.hours WHERE hour = %s"
TRAFFIC = Traffic(seed=7, events_per_second=200, broken_share=0.05, unknown_share=0.05)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[SparkCluster]:
    made = SparkCluster(tmp_path / "cluster")
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def collector() -> Iterator[OtlpCollector]:
    made = OtlpCollector()
    yield made
    made.stop()


@pytest.fixture
def stack(
    cluster: SparkCluster,
    collector: OtlpCollector,
    jars: Path,
    spark_conf_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[AirflowStack]:
    monkeypatch.setenv("ANTENNA_SPARK_MASTER", cluster.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "2000")
    batch = BatchServer(tmp_path / "batch", spark_conf_dir)
    made = AirflowStack.start(tmp_path / "stack", jars, batch)
    yield made
    made.abandon_traffic()
    made.close()
    batch.stop()


@pytest.mark.timeout(600)
def test_stream_and_batch_on_a_cluster(
    cluster: SparkCluster, stack: AirflowStack, collector: OtlpCollector
) -> None:
    assert processes.wait_until(lambda: cluster.alive_workers() == WORKERS, 30)
    hour = datetime(2021, 9, 26, 16, tzinfo=UTC)
    stack.send_past(TRAFFIC, hour, minutes=60)
    stack.start_traffic(TRAFFIC)
    stack.seconds_to_commit(time.time())
    stack.stop_traffic()
    stack.wait_until_consumed()
    run_id = stack.airflow.trigger("antenna_batch", {"timestamp": hour.isoformat()})
    state = stack.airflow.wait_for_run("antenna_batch", run_id, timeout=240)
    assert state == "success", stack.airflow.failure("antenna_batch", run_id)
    assert stack.query(COMPUTED, hour) == [(1,)]
    assert {name.split()[0] for name in cluster.applications()} == {"antenna-streaming", "antenna-batch"}
    stack.check()

    ((counted,),) = stack.query("SELECT sum(accepted)::float8 FROM ops.micro_batches")
    assert stack.query("SELECT DISTINCT epoch FROM ops.micro_batches") == [(1,)]

    def collected() -> bool:
        stream = collector.newest("antenna-streaming")
        return bool(stream.get(("antenna.events", "result=accepted")) == counted)

    stack.wait(collected, 30, f"the collector counts {counted:,.0f} events")
    assert collector.newest("antenna-streaming")["antenna.lag", ""] == 0
    assert collector.newest("antenna-batch")["antenna.hour.events", ""] > 0
    assert any(name.startswith("airflow.") for name, _ in collector.newest("airflow"))
    # Spark's own, as Prometheus takes them.
    ((ui,),) = stack.query("SELECT spark_ui_url FROM ops.streams")
    spark = httpx.get(f"{ui}/metrics/prometheus/", trust_env=False).text
    assert "spark_streaming_antenna_streaming_inputRate_total_Value" in spark
