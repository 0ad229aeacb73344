"""A collector of OpenTelemetry's metrics over HTTP, which keeps what it is sent."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest


class OtlpCollector:
    """`url` is what OTEL_EXPORTER_OTLP_ENDPOINT names."""

    def __init__(self) -> None:
        self._resources: list[Any] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                request = ExportMetricsServiceRequest()
                if self.path == "/v1/metrics":
                    request.ParseFromString(body)
                    collector._resources.extend(request.resource_metrics)
                self.send_response(200)
                self.end_headers()

            def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
                """Nobody reads it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="collector", daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def services(self) -> set[str]:
        """Who sent anything."""
        return {_attributes(found.resource)["service.name"] for found in self._resources}

    def newest(self, service: str) -> dict[tuple[str, str], float]:
        """(metric, its attributes as `name=value,…`) -> the newest value that a service sent; for a histogram
        the sum of what it holds. A series with a resource attribute `epoch` of its own stands for itself."""
        values: dict[tuple[str, str], float] = {}
        for found in self._resources:
            if _attributes(found.resource)["service.name"] == service:
                for scope in found.scope_metrics:
                    for metric in scope.metrics:
                        values.update(_points(metric))
        return values

    def resource(self, service: str) -> dict[str, str]:
        """The newest attributes of a service."""
        found = [_attributes(one.resource) for one in self._resources]
        return [attributes for attributes in found if attributes["service.name"] == service][-1]

    def stop(self) -> None:
        """End it."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _attributes(holder: Any) -> dict[str, str]:
    return {pair.key: str(getattr(pair.value, pair.value.WhichOneof("value"))) for pair in holder.attributes}


def _points(metric: Any) -> dict[tuple[str, str], float]:
    kind = metric.WhichOneof("data")
    points = {}
    for point in getattr(metric, kind).data_points:
        words = ",".join(f"{name}={value}" for name, value in sorted(_attributes(point).items()))
        value = point.sum if kind.endswith("histogram") else getattr(point, point.WhichOneof("value"))
        points[metric.name, words] = float(value)
    return points
