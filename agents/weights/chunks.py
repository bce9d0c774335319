"""Cuts a file into chunks where its content says so (FastCDC, by pyfastcdc), so that what moved keeps its chunks.

A cut depends on the bytes since the last cut only: whoever goes on at the end of a chunk cuts as if it had never
stopped. The sizes are part of what makes two mirrors share chunks: changing them stores everything anew.
"""

from pyfastcdc import FastCDC

from agents.weights.manifest import CHUNK_BYTES_MAX

MIN_BYTES, AVERAGE_BYTES, MAX_BYTES = 256 << 10, 1 << 20, 4 << 20
assert MAX_BYTES <= CHUNK_BYTES_MAX
_BATCH_BYTES = 2 * MAX_BYTES


class Cutter:
    """Takes the bytes of one file as they come; gives its chunks."""

    def __init__(self) -> None:
        self._cdc = FastCDC(avg_size=AVERAGE_BYTES, min_size=MIN_BYTES, max_size=MAX_BYTES)
        self._held: list[bytes] = []
        self._size = 0

    def feed(self, body: bytes) -> list[bytes]:
        """Chunks that more bytes cannot change any more."""
        self._held.append(body)
        self._size += len(body)
        return self._cut(self._size - MAX_BYTES) if self._size >= _BATCH_BYTES else []

    def rest(self) -> list[bytes]:
        """All that are left, when the file has ended."""
        return self._cut(self._size)

    def _cut(self, end: int) -> list[bytes]:
        """Those that begin before `end`."""
        held, taken, chunks = b"".join(self._held), 0, []
        for chunk in self._cdc.cut_buf(held):
            if taken >= end:
                break
            chunks.append(bytes(chunk.data))
            taken += chunk.length
        self._held, self._size = [held[taken:]], len(held) - taken
        return chunks
