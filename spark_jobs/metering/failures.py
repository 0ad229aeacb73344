"""One line about a failure, out of what Spark reports of it, said so that it is heard."""

import re
import time
from typing import Final, TextIO

from metering import logs

# spark-submit copies the output of a Python driver in a thread that it does not wait for when the driver
# fails, so the last line would be lost now and then.
_COPYING_SECONDS: Final = 0.5

# Errors of this project that travel from an executor's Python worker as the text of a traceback.
_RAISED_IN_AN_EXECUTOR: Final = re.compile(
    r"^(?:metering\.\w+\.)?(?:StorageError|OverflowError): (.+)$", re.M
)


def say_last(message: str, stream: TextIO | None = None) -> None:
    """Say the last line of a process that is about to end with an error, and let spark-submit copy it.

    With ``stream`` it goes there, as it is.
    """
    if stream is None:
        logs.error(message)
    else:
        print(message, file=stream, flush=True)
    time.sleep(_COPYING_SECONDS)


def cause(failure: BaseException) -> str:
    """The error that this project raised, wherever it was raised, or else the first line of the failure."""
    message = str(failure).strip()
    # What Py4J says first is only which of its calls failed.
    message = message.partition("\n: ")[2] if message.startswith("An error occurred while") else message
    raised = _RAISED_IN_AN_EXECUTOR.search(message)
    return raised[1] if raised else message.partition("\n")[0]
