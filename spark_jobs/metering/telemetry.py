"""Metrics by OpenTelemetry, sent where the environment says (OTEL_EXPORTER_OTLP_ENDPOINT), or nowhere."""

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from opentelemetry.metrics import MeterProvider, NoOpMeterProvider

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import MeterProvider as ExportingMeterProvider

# By the OpenTelemetry specification of the OTLP exporter; headers, certificates and the interval have their
# own variables there.
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")
_FLUSH_MS: Final = 3_000


class Telemetry:
    """Where the metrics of one process go. ``attributes`` tell its series from those of others."""

    def __init__(self, service: str, attributes: Mapping[str, str | int]) -> None:
        self.provider: MeterProvider = NoOpMeterProvider()
        self._exporting: ExportingMeterProvider | None = None
        if any(os.environ.get(name) for name in _ENDPOINTS):
            self.provider = self._exporting = _exporting_provider(service, attributes)

    def flush(self) -> None:
        """Send what has not been sent yet; a collector that does not answer is not waited for."""
        if self._exporting is not None:
            self._exporting.shutdown(_FLUSH_MS)


def _exporting_provider(service: str, attributes: Mapping[str, str | int]) -> "ExportingMeterProvider":
    # Only here: a job that measures nothing does not wait for these.
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource

    resource = Resource.create({"service.name": service, **attributes})
    return MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())], resource)


class StreamMetrics:
    """What a streaming driver measures."""

    def __init__(self, telemetry: Telemetry) -> None:
        meter = telemetry.provider.get_meter("antenna.stream")
        self._events = meter.create_counter(
            "antenna.events", "{event}", "Records committed, by result and reason"
        )
        self._bytes = meter.create_counter("antenna.bytes", "By", "Bytes of the accepted events")
        self._commit = meter.create_histogram("antenna.commit.duration", "s", "Time of a transaction")
        self._pass = meter.create_histogram("antenna.pass.duration", "s", "Time of the executors' pass")
        self._freshness = meter.create_gauge(
            "antenna.freshness", "s", "Age of the newest event of a micro-batch when it was committed"
        )
        self._lag = meter.create_gauge("antenna.lag", "{record}", "Records in Kafka that are not committed")

    def committed(
        self,
        accepted: int,
        rejected: Mapping[str, int],
        total_bytes: int,
        *,
        commit_seconds: float,
        pass_seconds: float,
        newest_event_time: int | None,
    ) -> None:
        """A micro-batch was committed; ``newest_event_time`` in epoch seconds."""
        self._events.add(accepted, {"result": "accepted"})
        for reason, count in rejected.items():
            self._events.add(count, {"result": "rejected", "reason": reason})
        self._bytes.add(total_bytes)
        self._commit.record(commit_seconds)
        self._pass.record(pass_seconds)
        if newest_event_time is not None:
            self._freshness.set(max(time.time() - newest_event_time, 0.0))

    def lag(self, records: int) -> None:
        """So many records wait."""
        self._lag.set(records)


def measure_hour(telemetry: Telemetry, events: int, total_bytes: int, breaches: int, seconds: float) -> None:
    """An hour was computed."""
    meter = telemetry.provider.get_meter("antenna.batch")
    meter.create_counter("antenna.hour.events", "{event}", "Events of the computed hours").add(events)
    meter.create_counter("antenna.hour.bytes", "By", "Bytes of the computed hours").add(total_bytes)
    meter.create_counter("antenna.hour.breaches", "{user}", "Users over quota").add(breaches)
    meter.create_histogram("antenna.hour.duration", "s", "Time to compute an hour").record(seconds)
