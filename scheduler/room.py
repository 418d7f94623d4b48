"""Whether the disks that schedd writes to have room for more trials."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

LEAST, SHARE = 2**30, 0.05
"""A disk is low where less is free than this many bytes, and than this share of it."""


class Usage(Protocol):
    """Bytes of a disk."""

    @property
    def total(self) -> int:
        """How many it has."""

    @property
    def free(self) -> int:
        """How many of them may be written."""


def shortage(folders: Iterable[Path], usage: Callable[[Path], Usage] = shutil.disk_usage) -> str:
    """Return in words which folder's disk is low; nothing where none is.

    A disk that does not answer is not low: whoever writes to it says what is wrong.
    """
    for folder in folders:
        there = next(place for place in (folder, *folder.parents) if place.exists())
        try:
            disk = usage(there)
        except OSError:
            continue
        if disk.free < min(LEAST, SHARE * disk.total):
            return f"{disk.free / 2**20:.0f} MiB are free on the disk of {folder}"
    return ""
