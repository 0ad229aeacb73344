"""What must come of sent events: sums for each window and key, and how many were accepted or rejected.

This is the ledger's own arithmetic: it shares no code with the jobs that it checks.
"""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple, overload

import numpy as np
import numpy.typing as npt

WINDOW_SECONDS: Final = 300

# The verdicts of accepted events; every other verdict is the reason of a rejection.
ACCEPTED: Final = "accepted"
LATE: Final = "accepted_late"
UNKNOWN_DEVICE: Final = "accepted_unknown_device"
ACCEPTED_VERDICTS: Final = (ACCEPTED, LATE, UNKNOWN_DEVICE)


class TotalType(StrEnum):
    """The types of totals in 5-minute windows."""

    ANTENNA = "antenna_total_bytes"
    APP = "app_total_bytes"
    DEVICE = "user_total_bytes"


class TotalKey(NamedTuple):
    """One total: the window's start in epoch seconds, its type, and the antenna, app or device."""

    window_start: int
    type: str
    id: str


@dataclass
class Tally:
    """Bytes for each total, and events for each verdict."""

    totals: Counter[TotalKey] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)

    @property
    def events(self) -> int:
        """All events, accepted or not."""
        return self.verdicts.total()

    @property
    def accepted(self) -> int:
        """Accepted events."""
        return sum(self.verdicts[verdict] for verdict in ACCEPTED_VERDICTS)

    def add(self, *, event_time: int, device: str, antenna: str, app: str, size: int) -> None:
        """Count one accepted event; ``event_time`` in epoch seconds, ``size`` in bytes."""
        window_start = window_of(event_time)
        self.totals[TotalKey(window_start, TotalType.ANTENNA, antenna)] += size
        self.totals[TotalKey(window_start, TotalType.APP, app)] += size
        self.totals[TotalKey(window_start, TotalType.DEVICE, device)] += size
        self.verdicts[ACCEPTED] += 1


@overload
def window_of(event_time: int) -> int: ...
@overload
def window_of(event_time: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]: ...
def window_of(event_time: int | npt.NDArray[np.int64]) -> int | npt.NDArray[np.int64]:
    """The start of the 5-minute window that holds the event time; both in epoch seconds."""
    return event_time - event_time % WINDOW_SECONDS
