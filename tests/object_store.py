"""A real S3 server (moto's) in the process of a test, which can fail at any request that it is told of."""

import logging
import threading
from collections.abc import Callable, Iterable
from enum import Enum
from pathlib import Path
from typing import Any, TypeAlias

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

BUCKET = "antenna"
SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
StartResponse: TypeAlias = Callable[..., Any]


class Fault(Enum):
    """What becomes of a request."""

    NONE = "served"
    REFUSED = "answered with 503, not served"
    ANSWER_LOST = "served, but answered with 503"


class _QuietHandler(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nobody reads the access log."""


class ObjectStore:
    """One bucket. `fault` is asked at each request, by its method (COPY for a copy) and key."""

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.fault: Callable[[str, str], Fault] = lambda method, key: Fault.NONE
        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._serve, threaded=True, request_handler=_QuietHandler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="object-store", daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._client = boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="reader",
            aws_secret_access_key="reader-secret",
        )
        self._client.create_bucket(Bucket=BUCKET)

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to find the bucket and to be let in."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "drill",
            "AWS_SECRET_ACCESS_KEY": "drill-secret",
            "AWS_REGION": "us-east-1",
        }

    def uri(self, folder: str) -> str:
        """The storage path of a folder in the bucket."""
        return f"s3a://{BUCKET}/{folder}"

    def keys(self, folder: str) -> dict[str, int]:
        """Key, relative to the folder -> size in bytes, of every object below it, but for those that only
        stand for a folder: Arrow leaves one where it removes the last object of a folder."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{folder}/")
        return {
            found["Key"].removeprefix(f"{folder}/"): found["Size"]
            for page in pages
            for found in page.get("Contents", [])
            if not found["Key"].endswith("/")
        }

    def download(self, folder: str, target: Path) -> None:
        """Copy every object below the folder to a local one that is empty."""
        for key in self.keys(folder):
            file = target / key
            file.parent.mkdir(parents=True, exist_ok=True)
            self._client.download_file(BUCKET, f"{folder}/{key}", str(file))

    def delete(self, folder: str, key: str) -> None:
        """Remove one object."""
        self._client.delete_object(Bucket=BUCKET, Key=f"{folder}/{key}")

    def stop(self) -> None:
        """End the server; its objects are gone."""
        self._server.shutdown()
        self._thread.join()

    def _serve(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        method = "COPY" if "HTTP_X_AMZ_COPY_SOURCE" in environ else environ["REQUEST_METHOD"]
        fault = self.fault(method, environ["PATH_INFO"].removeprefix(f"/{BUCKET}/"))
        if fault is not Fault.REFUSED:
            if fault is Fault.NONE:
                return self._app(environ, start_response)  # type: ignore[no-any-return]
            list(self._app(environ, lambda *answer: None))
        start_response("503 Slow Down", [("Content-Type", "application/xml")])
        return [SLOW_DOWN]
