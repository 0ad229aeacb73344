"""Sends simulated device traffic to Kafka, and keeps a ledger of exactly what it sent.

One of three ways: --live sends until stopped, and goes on where it was when started again; --minutes sends a
bounded stretch of event time; --file sends a file's lines as they are. Event time that has passed goes out as
fast as Kafka takes it, what lies ahead in real time. SIGTERM and SIGINT end it cleanly: what was begun is
delivered and recorded. After kill -9 the next start completes what was under way, so the ledger is exact.

Exit codes: 0 done or stopped; 1 failed; 2 bad arguments.
"""

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from include.simulator.arguments import ArgumentParser, instant
from include.simulator.generator import Traffic
from include.simulator.ledger import Ledger, LedgerError
from include.simulator.producer import SimulationPlan, replay, send
from include.simulator.topic import KafkaSendError

logger = logging.getLogger("include.simulator")


def main(arguments: Sequence[str] | None = None) -> int:
    """Send as the arguments say; returns the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s", stream=sys.stdout, level=logging.INFO)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        if options.file:
            _replay(options, stop)
        else:
            _simulate(options, _plan(options), stop)
    except argparse.ArgumentTypeError as error:
        parser.error(str(error))
    except (KafkaSendError, LedgerError) as error:
        logger.error("error: %s", error)
        return 1
    return 0


def _simulate(options: argparse.Namespace, plan: SimulationPlan, stop: threading.Event) -> None:
    config = {"bootstrap.servers": options.bootstrap_servers}
    sender = "live" if options.live else "bounded"
    with Ledger(options.ledger, create=True) as ledger:
        summary = send(config, options.topic, plan, ledger, stop.is_set, sender)
    logger.info(
        "sent %d events (%d to be accepted, %d to be rejected) from %s to %s in %.1f s",
        summary.events,
        summary.accepted,
        summary.rejected,
        summary.start.isoformat(),
        summary.end.isoformat(),
        summary.seconds,
    )


def _replay(options: argparse.Namespace, stop: threading.Event) -> None:
    if options.ledger:
        raise argparse.ArgumentTypeError(
            "--ledger does not go with --file: what must come of a file's lines is not known; leave it out"
        )
    config = {"bootstrap.servers": options.bootstrap_servers}
    try:
        with options.file.open("rb") as lines:
            sent = replay(config, options.topic, lines, stop.is_set)
    except OSError as error:
        raise argparse.ArgumentTypeError(
            f"--file {options.file} cannot be read: {error.strerror}; give a readable file"
        ) from error
    logger.info("sent %d lines of %s", sent, options.file)


def _plan(options: argparse.Namespace) -> SimulationPlan:
    if not options.ledger:
        raise argparse.ArgumentTypeError("--ledger is missing; give the path where to count what is sent")
    try:
        traffic = Traffic(**{field.name: getattr(options, field.name) for field in fields(Traffic)})
        return SimulationPlan(traffic, options.start, options.minutes)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _parser() -> argparse.ArgumentParser:
    parser = ArgumentParser(
        prog="python -m include.simulator",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--bootstrap-servers", required=True, metavar="HOST:PORT", help="Kafka's address")
    parser.add_argument("--topic", default="devices", help="an existing topic (default %(default)s)")
    parser.add_argument("--ledger", type=Path, help="the ledger; made if missing (needed without --file)")
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument(
        "--live", action="store_true", help="send from --start, or where it stopped, until stopped"
    )
    way.add_argument("--minutes", type=float, help="send so much event time from --start")
    way.add_argument("--file", type=Path, help="send this file's lines as they are; no ledger counts them")
    parser.add_argument("--start", type=instant, help="first event time, ISO 8601 with offset (default now)")
    defaults = Traffic()
    traffic = parser.add_argument_group("traffic")
    for option, kind, text in (
        ("seed", int, "the same seed and event time give the same events"),
        ("devices", int, "number of devices"),
        ("antennas", int, "number of antennas"),
        ("events-per-second", float, "rate in event time"),
        ("broken-share", float, "part of records that break a rule of the format"),
        ("late-share", float, "part of events that come late"),
        ("unknown-share", float, "part of events from devices that are not in user_metadata"),
        ("future-share", float, "part of events with a timestamp decades ahead"),
        ("max-late-minutes", int, "how late the late events are at most"),
    ):
        default = getattr(defaults, option.replace("-", "_"))
        traffic.add_argument(f"--{option}", type=kind, default=default, help=f"{text} (default {default})")
    return parser


if __name__ == "__main__":
    sys.exit(main())
