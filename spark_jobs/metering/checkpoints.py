"""Spark's checkpoint: it frames the micro-batches of one driver, and every driver begins its own."""

import posixpath
import re

import pyarrow.fs as pafs

from metering.archive import Storage


def begin_checkpoint(checkpoint_path: str, topic: str, epoch: int) -> str:
    """The path of this epoch's checkpoint; those of older epochs, which nobody reads again, are removed.

    Raises:
        StorageError: the path is on no known file system.
    """
    storage = Storage(checkpoint_path)
    name = re.compile(rf"{re.escape(topic)}-epoch-(\d+)")
    for info in storage.filesystem.get_file_info(pafs.FileSelector(storage.root, allow_not_found=True)):
        found = name.fullmatch(info.base_name)
        if found and int(found[1]) < epoch:
            storage.filesystem.delete_dir(info.path)
    return posixpath.join(checkpoint_path, f"{topic}-epoch-{epoch}")
