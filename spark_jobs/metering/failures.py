"""One line about a failure, out of what Spark reports of it."""

import re
from typing import Final

# Errors of this project that travel from an executor's Python worker as the text of a traceback.
_RAISED_IN_AN_EXECUTOR: Final = re.compile(
    r"^(?:metering\.\w+\.)?(?:StorageError|OverflowError): (.+)$", re.M
)


def cause(failure: BaseException) -> str:
    """The error that this project raised, wherever it was raised, or else the first line of the failure."""
    message = str(failure).strip()
    raised = _RAISED_IN_AN_EXECUTOR.search(message)
    return raised[1] if raised else message.partition("\n")[0]
