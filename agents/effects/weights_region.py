"""A chunk on its way to the disk: written where it belongs, hashed as it arrives, read by nobody before it is right."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import blake3

from agents.weights.manifest import Chunk

PIECE_BYTES = 256 << 10
Piece = bytes | bytearray | memoryview
_own = threading.local()


class WrongLength(Exception):
    """More or fewer bytes than the chunk has."""


class Region:
    """Of one writer at a time, from any thread. `handle` stays the caller's."""

    def __init__(self, handle: int, offset: int, chunk: Chunk) -> None:
        self.chunk = chunk
        self.offset = offset
        self._handle = handle
        self.begin()

    def begin(self) -> None:
        """From its first byte, whatever an earlier source has sent."""
        self._hasher = blake3.blake3()
        self.length = 0

    def write(self, piece: Piece) -> None:
        """Raises WrongLength, and OSError: ENOSPC where the disk is full."""
        view = memoryview(piece)
        if self.length + len(view) > self.chunk.size:
            raise WrongLength(f"more than the {self.chunk.size} bytes of chunk {self.chunk.hash}")
        self._hasher.update(view)
        while view:
            written = os.pwrite(self._handle, view, self.offset + self.length)
            self.length += written
            view = view[written:]

    def is_right(self) -> bool:
        return self.length == self.chunk.size and self._hasher.hexdigest() == self.chunk.hash

    def copy(self, source: Path, offset: int) -> bool:
        """From a file of this machine. Blocks: for a thread."""
        self.begin()
        handle = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        try:
            for piece in pieces(handle, offset, self.chunk.size):
                self.write(piece)
        finally:
            os.close(handle)
        return self.is_right()

    def is_there(self) -> bool:
        """Whether these bytes of the file are the chunk already. Blocks: for a thread."""
        return is_there(self._handle, self.offset, self.chunk)


def is_there(handle: int, offset: int, chunk: Chunk) -> bool:
    hasher = blake3.blake3()
    for piece in pieces(handle, offset, chunk.size):
        hasher.update(piece)
    return hasher.hexdigest() == chunk.hash


def buffer_of_thread() -> memoryview:
    """The same each time: making one anew for each chunk costs as much as copying it."""
    buffer: memoryview | None = getattr(_own, "buffer", None)
    if buffer is None:
        buffer = _own.buffer = memoryview(bytearray(PIECE_BYTES))
    return buffer


def pieces(handle: int, offset: int, size: int) -> Iterator[memoryview]:
    """Each in the place of the one before it. Ends early where the file does."""
    buffer = buffer_of_thread()
    done = 0
    while done < size:
        got = os.preadv(handle, [buffer[: min(len(buffer), size - done)]], offset + done)
        if got == 0:
            return
        done += got
        yield buffer[:got]
