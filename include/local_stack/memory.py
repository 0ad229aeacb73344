"""The peak memory of a stack."""

import threading

from include.local_stack.processes import find, pss_bytes
from include.local_stack.settings import Settings

EVERY_SECONDS = 1.0


class MemorySampler(threading.Thread):
    """Samples the memory of every process of a stack together; `peak_bytes` is the most that was seen."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(name="memory-sampler", daemon=True)
        self._home = settings.home
        self._stopped = threading.Event()
        self.peak_bytes = 0

    def run(self) -> None:
        """Sample until stopped."""
        while not self._stopped.wait(EVERY_SECONDS):
            self.peak_bytes = max(self.peak_bytes, pss_bytes(find(self._home)))

    def stop(self) -> int:
        """End the sampling; returns the peak in bytes."""
        self._stopped.set()
        self.join()
        return self.peak_bytes
