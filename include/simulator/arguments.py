"""Command-line arguments, with errors that fit on one line."""

import argparse
import sys
from datetime import UTC, datetime
from typing import NoReturn


class ArgumentParser(argparse.ArgumentParser):
    """Says in one line what is wrong, and exits with 2."""

    def error(self, message: str) -> NoReturn:
        """Print the message and exit with 2."""
        sys.stderr.write(f"{self.prog}: error: {' '.join(message.split())}; see --help\n")
        sys.exit(2)


def instant(text: str) -> datetime:
    """The instant that an argument names: ISO 8601 with an offset."""
    example = "for example 2026-11-24T16:00:00Z"
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not an ISO 8601 date and time, {example}") from None
    if parsed.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} has no offset from UTC; add one, {example}")
    return parsed


def hour(text: str) -> datetime:
    """The start of an hour that an argument names: ISO 8601 with an offset, on the hour."""
    parsed = instant(text).astimezone(UTC)
    if (parsed.minute, parsed.second, parsed.microsecond) != (0, 0, 0):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not the start of an hour in UTC, for example 2026-11-24T16:00:00Z"
        )
    return parsed
