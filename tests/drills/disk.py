"""A small file system of its own that a drill can fill up or write-protect."""

import os
import subprocess
import time
from pathlib import Path

ORDINARY_SIZE = 2 * 1024**3
SPARE = 64 * 1024


class Disk:
    """A tmpfs mounted on `folder`. Where mounting is not allowed the folder is an ordinary one, and `fill`
    and `protect` raise OSError: what cannot be drilled is not passed over."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        result = _run(
            "mount", "-t", "tmpfs", "-o", f"size={ORDINARY_SIZE},mode=0755", "antenna-drill", folder
        )
        self._refusal = result.stderr.strip() if result.returncode else None

    def fill(self) -> None:
        """Leave no room for anything more."""
        figures = os.statvfs(self.folder)
        used = (figures.f_blocks - figures.f_bfree) * figures.f_frsize
        self._remount(f"size={used + SPARE}")

    def protect(self) -> None:
        """Let nothing be written."""
        self._remount("ro")

    def release(self) -> None:
        """Room and permission as before."""
        self._remount(f"rw,size={ORDINARY_SIZE}")

    def unmount(self) -> None:
        """Give the space back; idempotent."""
        if self._refusal is None:
            _run("umount", "--lazy", self.folder)

    def _remount(self, options: str) -> None:
        if self._refusal is not None:
            raise OSError(
                f"this drill needs a file system of its own on {self.folder}, and mounting one is not "
                f"allowed here ({self._refusal}); run it as root"
            )
        # A file that is open for writing at this moment forbids "ro".
        for _ in range(200):
            result = _run("mount", "-o", f"remount,{options}", self.folder)
            if result.returncode == 0:
                return
            time.sleep(0.02)
        raise OSError(f"remount of {self.folder} with {options}: {result.stderr.strip()}")


def _run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False)
