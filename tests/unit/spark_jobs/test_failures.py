"""The one line that a failure is told in."""

import pytest

from metering.failures import cause

PY4J = "An error occurred while calling o1037.collectToPython.\n: org.apache.spark.SparkException: "


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("disk full\nat line 3", "disk full"),
        (f"{PY4J}Job aborted\n\tat org.apache.spark", "org.apache.spark.SparkException: Job aborted"),
        (
            f"{PY4J}Multiple failures (2)\n  1. PythonException: Traceback:\n"
            "metering.archive.StorageError: archive file x is damaged\n SQLSTATE: 38000",
            "archive file x is damaged",
        ),
    ],
)
def test_cause(message: str, line: str) -> None:
    assert cause(Exception(message)) == line
