"""A child's output on disk: everything it prints, in a file that is rotated at a size, so it stays bounded.

The supervisor holds the reading end of the pipe. It wakes only when there is something to read, writes it on
as it came, and keeps the last lines in memory, so that a child that dies at once can be quoted.
"""

import asyncio
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path

CHUNK_BYTES = 64 * 1024


class ChildLog:
    """One role's log, across all its restarts."""

    def __init__(self, path: Path, max_bytes: int, keep: int) -> None:
        self._path, self._max_bytes, self._keep = path, max_bytes, keep
        self._file = path.open("ab", buffering=0)
        self._lost_bytes = 0
        self._last: deque[bytes] = deque(maxlen=30)

    def write(self, text: bytes) -> None:
        """Appends, rotating first if the file is full. A full disk loses lines and says so; it stops no child."""
        self._last.extend(text.splitlines())
        try:
            if self._file.tell() and self._file.tell() + len(text) > self._max_bytes:
                self._rotate()
            if self._lost_bytes:
                self._file.write(b"[%d bytes could not be written here]\n" % self._lost_bytes)
                self._lost_bytes = 0
            self._file.write(text)
        except OSError:
            self._lost_bytes += len(text)

    def follow(self, pipe: int) -> Callable[[], None]:
        """Copies all that comes out of the pipe until its writers are gone; owns the descriptor.

        Returns a function that copies at once what is waiting there, for when the child has died.
        """
        loop = asyncio.get_running_loop()
        os.set_blocking(pipe, False)

        is_open = True

        def copy() -> bool:
            nonlocal is_open
            try:
                chunk = os.read(pipe, CHUNK_BYTES)
            except BlockingIOError:
                return False
            if chunk:
                self.write(chunk)
            else:
                loop.remove_reader(pipe)
                os.close(pipe)
                is_open = False
            return is_open

        def drain() -> None:
            while is_open and copy():
                pass

        loop.add_reader(pipe, copy)
        return drain

    def tail(self, lines: int = 8) -> str:
        """The last lines, for a message about why the child died."""
        return b"\n".join(list(self._last)[-lines:]).decode(errors="replace")

    def close(self) -> None:
        self._file.close()

    def _rotate(self) -> None:
        for number in range(self._keep - 1, 0, -1):
            older = self._numbered(number)
            if older.exists():
                older.replace(self._numbered(number + 1))
        self._path.replace(self._numbered(1))
        full, self._file = self._file, self._path.open("ab", buffering=0)
        full.close()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")
