"""What a fetch of weights is about: which contents a manifest needs, where the bytes came from, what can go wrong.

Files are kept by content, not by name: two models with the same file share it, under any path and in any manifest.
"""

from typing import Literal

import blake3
import msgspec

from agents.weights.manifest import File, Manifest
from events.weights import ChunkHash
from handlers.backoff import backoff_s

ContentId = str
"""64 hexadecimal digits: BLAKE3 of a file's row of chunks and whether it is a program."""
Tier = Literal["node", "peer", "mirror"]
Lack = Literal["room", "mirror", "corrupt", "missing"]
AGAIN_FIRST_S = 0.2
AGAIN_SLOWEST_S = 15.0


class WeightsLate(Exception):
    """They cannot be had now. `missing` is for good; for the rest, the same works when the fault has ended."""

    def __init__(self, lack: Lack, reason: str) -> None:
        super().__init__(reason)
        self.lack = lack
        self.reason = reason


class Corrupt(msgspec.Struct, frozen=True):
    """Bytes that are not those of the chunk, found before anybody used them."""

    chunk: ChunkHash
    tier: Tier
    source: str
    """The node that had them on its disk or answered with them; the mirror's name."""


class Tally(msgspec.Struct):
    """Bytes by where they came from."""

    node: int = 0
    peer: int = 0
    mirror: int = 0

    def add(self, tier: Tier, size: int) -> None:
        setattr(self, tier, getattr(self, tier) + size)

    def join(self, other: "Tally") -> None:
        self.node += other.node
        self.peer += other.peer
        self.mirror += other.mirror


def content_id(file: File) -> ContentId:
    """A program is a content of its own: links to one file share its mode."""
    row = msgspec.json.encode((file.chunks, bool(file.mode & 0o111)))
    return blake3.blake3(row).hexdigest()


Files = tuple[tuple[ContentId, File], ...]


def contents(manifest: Manifest) -> Files:
    """Of each file, in the order of need."""
    return tuple((content_id(file), file) for file in manifest.files)


def pause_s(failures: int) -> float:
    """How long to wait after so many failures in a row."""
    return backoff_s(failures, AGAIN_FIRST_S, AGAIN_SLOWEST_S)
