"""Command lines of the Spark jobs: bad arguments exit 2 with one line that says what is wrong."""

import argparse
import re
import sys
from datetime import datetime
from pathlib import Path
from typing import NoReturn

from metering.database import conninfo
from metering.executor_pass import OffsetRange
from metering.failures import say_last
from metering.hours import parse_hour

BAD_ARGUMENTS = 2
# Limits of event times, in seconds: how far ahead of the clock, and how far behind it.
DEFAULT_MAX_FUTURE = 600
DEFAULT_MAX_LATENESS = 7 * 86400
_OFFSET_RANGE = re.compile(r"\s*([0-9]+):([0-9]+)(?:-([0-9]+))?\s*", re.ASCII)


class OneLineParser(argparse.ArgumentParser):
    """Prints one line and exits 2 where argparse would print the usage as well."""

    def error(self, message: str) -> NoReturn:
        say_last(f"{self.prog}: error: {message}", sys.stderr)
        sys.exit(BAD_ARGUMENTS)


def streaming_parser() -> OneLineParser:
    """The arguments of the streaming job."""
    parser = OneLineParser(
        "antenna_streaming_job.py", description="Meter a Kafka topic into PostgreSQL and Parquet."
    )
    parser.add_argument("--kafka-bootstrap-servers", required=True, metavar="HOST:PORT[,HOST:PORT]")
    parser.add_argument("--topic", required=True)
    _add_database(parser)
    parser.add_argument("--bytes-table", required=True, metavar="TABLE")
    parser.add_argument("--checkpoint-path", required=True, help="folder or URI for Spark's own bookkeeping")
    parser.add_argument(
        "--trigger-interval", default="5 seconds", help="at most one micro-batch in this time"
    )
    parser.add_argument("--available-now", action="store_true", help="consume what is there, then exit 0")
    parser.add_argument(
        "--max-lateness", type=_lateness, default=DEFAULT_MAX_LATENESS, metavar="SECONDS|unlimited",
        help="reject events older than this (default: 7 days)",
    )  # fmt: skip
    parser.add_argument(
        "--max-future", type=_positive, default=DEFAULT_MAX_FUTURE, metavar="SECONDS",
        help="reject events further ahead than this (default: 600)",
    )  # fmt: skip
    parser.add_argument(
        "--hang-timeout", type=_positive, default=60, metavar="SECONDS",
        help="end the driver after this long with lag but without a commit (default: 60)",
    )  # fmt: skip
    parser.add_argument(
        "--refuse-offsets", type=_offset_ranges, default=[], metavar="none|PARTITION:OFFSET[-OFFSET][,...]",
        help="reject these records by hand, whatever they hold (default: none)",
    )  # fmt: skip
    parser.add_argument("--kafka-options-file", type=_kafka_options, default={}, metavar="FILE",
        help="lines of option=value for the Kafka consumer, such as security.protocol=SASL_SSL",
    )  # fmt: skip
    return parser


def batch_parser() -> OneLineParser:
    """The arguments of the batch job."""
    parser = OneLineParser("antenna_batch_job.py", description="Compute one hour from the archive.")
    parser.add_argument(
        "--timestamp", required=True, type=_hour, help="an instant in the hour, ISO 8601 with an offset"
    )
    _add_database(parser)
    parser.add_argument("--bytes-hourly-table", required=True, metavar="TABLE")
    parser.add_argument("--user-quota-limit-table", required=True, metavar="TABLE")
    return parser


def parse_lateness(text: str) -> int | None:
    """How old an event may be, in seconds; None for ``unlimited``. Raises ValueError."""
    return None if text == "unlimited" else _seconds(text)


def _add_database(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--storage-path", required=True, help="folder or URI (file:, s3a:, gs:) of the archive"
    )
    parser.add_argument(
        "--jdbc-uri", required=True, type=_jdbc_uri, metavar="jdbc:postgresql://HOST:PORT/DATABASE"
    )
    parser.add_argument("--jdbc-user", required=True)
    parser.add_argument(
        "--jdbc-password-file", metavar="FILE", help="default: the environment variable ANTENNA_DB_PASSWORD"
    )
    parser.add_argument("--user-metadata-table", required=True, metavar="TABLE")


def _jdbc_uri(text: str) -> str:
    try:
        conninfo(text, "", "")
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _hour(text: str) -> datetime:
    try:
        return parse_hour(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _positive(text: str) -> int:
    try:
        return _seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _seconds(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise ValueError(f"{text!r} is not a positive whole number of seconds")
    return int(text)


def _lateness(text: str) -> int | None:
    try:
        return parse_lateness(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _offset_ranges(text: str) -> list[OffsetRange]:
    if text.strip() in ("", "none"):
        return []
    found = [_OFFSET_RANGE.fullmatch(part) for part in text.split(",")]
    ranges = [
        OffsetRange(int(part[1]), int(part[2]), int(part[3] or part[2])) for part in found if part is not None
    ]
    if None in found or any(span.first > span.last for span in ranges):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not of the form PARTITION:OFFSET or PARTITION:FIRST-LAST, joined by commas"
        )
    return ranges


def _kafka_options(path: str) -> dict[str, str]:
    try:
        lines = [line.strip() for line in Path(path).read_text().splitlines()]
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{path!r} cannot be read: {error.strerror}") from None
    options = {}
    for line in lines:
        if line and not line.startswith("#"):
            name, equals, value = line.partition("=")
            if not equals:
                # The line may hold a password, so only its beginning is named.
                raise argparse.ArgumentTypeError(f"a line of {path!r} is not of the form option=value")
            options[name.strip()] = value.strip()
    return options
