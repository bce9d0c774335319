"""Cuts a file into chunks where its content says so, so that what stayed the same keeps its chunks wherever it lies.

Inside, FastCDC cuts (by pyfastcdc). In a safetensors file the ends of tensors are cuts as well: a fine-tune changes
whole tensors and re-sharding moves them whole, so their neighbours' chunks stay. A cut depends on the tensors and on
the bytes since the last cut only: whoever goes on at the end of a chunk cuts as if it had never stopped. The sizes are
part of what lets two mirrors share chunks: changing them stores everything anew.
"""

from bisect import bisect_right
from collections.abc import Iterable
from itertools import pairwise

import msgspec
from pyfastcdc import FastCDC

from agents.weights.manifest import CHUNK_BYTES_MAX

MIN_BYTES, AVERAGE_BYTES, MAX_BYTES = 256 << 10, 1 << 20, 4 << 20
assert MAX_BYTES <= CHUNK_BYTES_MAX
TENSOR_BYTES_MIN = 64 << 10
"""Smaller tensors are cut together with their neighbours."""
CUTTING = f"tensors {TENSOR_BYTES_MIN} fastcdc {MIN_BYTES} {AVERAGE_BYTES} {MAX_BYTES}"
_BATCH_BYTES = 2 << 20
"""New bytes that are worth a look: what is held meanwhile is copied each time."""
_HEADER_BYTES_MAX = 32 << 20


class Tensor(msgspec.Struct):
    """What a safetensors header says of one."""

    data_offsets: tuple[int, int]


class Cutter:
    """Takes the bytes of one file as they come; gives its chunks, as views: what is one is not copied again."""

    def __init__(self, path: str) -> None:
        self._cdc = FastCDC(avg_size=AVERAGE_BYTES, min_size=MIN_BYTES, max_size=MAX_BYTES)
        self._held: list[bytes] = []
        self._fresh = 0
        self._at = 0
        """Where in the file the held bytes begin."""
        self._header = _Header() if path.endswith(".safetensors") else None
        self._edges: list[int] = []

    def past(self, chunk: bytes) -> None:
        """A chunk that was cut before, by another: only what it says about the rest is taken."""
        self._learn(chunk)
        self._at += len(chunk)

    def feed(self, body: bytes) -> list[memoryview]:
        """Chunks that more bytes cannot change any more."""
        self._learn(body)
        self._held.append(body)
        self._fresh += len(body)
        return self._cut(is_end=False) if self._fresh >= _BATCH_BYTES and self._header is None else []

    def rest(self) -> list[memoryview]:
        """All that are left, when the file has ended."""
        return self._cut(is_end=True)

    def _learn(self, body: bytes) -> None:
        if self._header is not None:
            edges = self._header.feed(body)
            if edges is not None:
                self._edges, self._header = edges, None

    def _cut(self, is_end: bool) -> list[memoryview]:
        view, taken, chunks = memoryview(b"".join(self._held)), 0, []
        while taken < len(view):
            limit = min(taken + MAX_BYTES, self._edge_after(self._at + taken) - self._at)
            length = next(iter(self._cdc.cut_buf(view[taken : min(limit, len(view))]))).length
            if not is_end and taken + length == len(view) < limit:
                break  # Where the bytes end for now: more of them may say otherwise.
            chunks.append(view[taken : taken + length])
            taken += length
        self._held, self._fresh, self._at = [bytes(view[taken:])], 0, self._at + taken
        return chunks

    def _edge_after(self, at: int) -> int:
        found = bisect_right(self._edges, at)
        return self._edges[found] if found < len(self._edges) else at + MAX_BYTES


class _Header:
    """The beginning of a safetensors file, until it tells where its tensors are."""

    def __init__(self) -> None:
        self._read = b""

    def feed(self, body: bytes) -> list[int] | None:
        """None: more is needed. A file that only has the name has no tensors."""
        self._read += body
        if len(self._read) < 8:
            return None
        length = int.from_bytes(self._read[:8], "little")
        if length > _HEADER_BYTES_MAX:
            return []
        if len(self._read) < 8 + length:
            return None
        try:
            tensors = msgspec.json.decode(self._read[8 : 8 + length], type=dict[str, msgspec.Raw])
            tensors.pop("__metadata__", None)
            spans = [msgspec.json.decode(raw, type=Tensor).data_offsets for raw in tensors.values()]
        except msgspec.MsgspecError:
            return []
        return edges_of(8 + length, spans)


def edges_of(start: int, spans: Iterable[tuple[int, int]]) -> list[int]:
    """Both ends of each tensor that is large enough; none where tensors overlap, which no honest file's do."""
    large = sorted(span for span in spans if span[1] - span[0] >= TENSOR_BYTES_MIN)
    if any(after[0] < before[1] for before, after in pairwise(large)):
        return []
    return sorted({start + edge for span in large for edge in span})
