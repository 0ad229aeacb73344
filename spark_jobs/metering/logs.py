"""What the jobs say: lines for people, or JSON for machines with ANTENNA_LOG_FORMAT=json."""

import os
import sys
from typing import Any, Final

import structlog
from structlog.typing import EventDict, WrappedLogger

FORMAT_VARIABLE: Final = "ANTENNA_LOG_FORMAT"
# Such as topic and epoch: what every line of this process holds from then on.
_bound: dict[str, Any] = {}


def bind(**fields: object) -> None:
    """Put these fields into every following line of this process."""
    _bound.update(fields)


def _add_bound(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {**_bound, **event}


def _only_message(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    return str(event["event"])


def debug(message: str, **fields: object) -> None:
    """What is only for machines: as text it is left out."""
    _logger().debug(message, **fields)


def info(message: str, **fields: object) -> None:
    """A line; as JSON it holds the fields too."""
    _logger().info(message, **fields)


def error(message: str, **fields: object) -> None:
    """As ``info``, about what somebody should see to."""
    _logger().error(message, **fields)


def _logger() -> Any:
    as_json = os.environ.get(FORMAT_VARIABLE) == "json"
    renderers: list[Any] = [_only_message]
    if as_json:
        renderers = [
            _add_bound,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper("iso", utc=True, key="timestamp"),
            structlog.processors.EventRenamer("message"),
            structlog.processors.JSONRenderer(),
        ]
    return structlog.wrap_logger(
        structlog.PrintLogger(sys.stdout),
        processors=renderers,
        wrapper_class=structlog.make_filtering_bound_logger("debug" if as_json else "info"),
    )
