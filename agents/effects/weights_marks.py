"""What the disk says about a file of the cache: that it was found right and durable, how it was then, when it was used.

Where such a note is lost with the machine's power, or fits no file, what it says is found out anew.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

from projections.stores.whole import write_whole


class Mark(msgspec.Struct, frozen=True):
    """How the file was when it had been checked and made durable."""

    inode: int
    size: int
    modified_ns: int
    hot: bool = False


class Use(msgspec.Struct, frozen=True):
    """One more of a file."""

    path: str
    """Of its mark, whose time says when."""
    mark: Mark | None
    """What it says from now on; None: as before."""


def write_uses(uses: Iterable[Use]) -> None:
    """What is evicted meanwhile has no mark, or one that fits no file. Blocks: for a thread."""
    for each in uses:
        with suppress(FileNotFoundError):  # It will be marked as it is then.
            os.utime(each.path)
            if each.mark is not None:
                write_whole(Path(each.path), msgspec.json.encode(each.mark))


def mark_of(handle: int) -> Mark:
    now = os.fstat(handle)
    return Mark(now.st_ino, now.st_size, now.st_mtime_ns)
