"""Leftovers: files that are not in the manifest, and whose writer can commit nothing more."""

import re
from collections.abc import Callable, Collection
from typing import Final

from metering.archive import EVENTS, REJECTED, STAGING, Storage

_EPOCH: Final = re.compile(rf"{STAGING}/epoch=(\d+)/|(?:{EVENTS}|{REJECTED})/.*/e(\d+)-[^/]*$")


def sweep(
    storage: Storage, read_manifest: Callable[[], Collection[str]], is_dead: Callable[[int | None], bool]
) -> list[str]:
    """Remove leftovers; returns the removed paths, relative to the storage path.

    The manifest is read after the folders: what a dead writer committed is in it by then, and what others
    write from now on is not in the list. So even a process that stops here and goes on much later removes
    nothing that somebody committed meanwhile.

    Args:
        storage: the archive.
        read_manifest: asks PostgreSQL for the paths in the manifest.
        is_dead: whether the writer of this epoch (None: the name tells none) can commit nothing more.
    """
    found = [path for folder in (EVENTS, REJECTED, STAGING) for path in storage.files(folder)]
    manifest = read_manifest()
    leftovers = [path for path in found if path not in manifest and is_dead(epoch_of(path))]
    storage.delete(leftovers)
    return leftovers


def epoch_of(path: str) -> int | None:
    """The epoch of the driver that wrote a file, ``MAINTENANCE_EPOCH`` for maintenance, None: it has none."""
    found = _EPOCH.match(path)
    return int(found[1] or found[2]) if found else None
