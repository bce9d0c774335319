"""Files that appear whole or not at all: written aside, then renamed. Readers see what was there before, or all of it.

Durable ones are on disk, and so is their name, when the call returns; the others may be lost with the machine's power,
and suit what is made anew without them. All of it blocks: for a thread, where the file is not small.
"""

import os
from pathlib import Path
from secrets import token_hex

OWNER_ONLY, READ_ONLY = 0o600, 0o444


def write_whole(
    path: Path, content: bytes | memoryview, *, mode: int = OWNER_ONLY, durable: bool = False, aside: Path | None = None
) -> None:
    """`aside`: where it is written first, on the same file system; None: beside the file, hidden, as `….aside`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = aside or path.with_name(f".{path.name}.{os.getpid()}-{token_hex(4)}.aside")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY), "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    if durable:
        fsync_folder(path.parent)


def fsync_folder(folder: Path) -> None:
    """Make a rename durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
