"""The archive: each sealed segment as a compressed file of its own, readable without a broker.

`<first>-<last>.ndjson.gz` with the same bytes for the same segment, so two writers are harmless; a file appears whole
and durable or not at all. It can be copied anywhere with any tool.
"""

import asyncio
import gzip
import os
import re
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from secrets import token_hex

import msgspec

from events.base import ORIGIN, Position
from events.log.raw import RawMessage
from events.log.segments import Segment, SegmentBroken, lines_of, read_lines, segment_of
from projections.stores.blobs import fsync_folder

_NAME = re.compile(r"(\d{12})-(\d{12})\.ndjson\.gz")


class ArchiveBroken(Exception):
    """A file of the archive is missing or is not as it was written."""


class Kept(msgspec.Struct, frozen=True):
    """A file, as its name says."""

    first: Position
    last: Position
    path: Path


class FolderArchive:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def segments(self) -> list[Kept]:
        """In order, each once.

        A notary that was killed before it sealed leaves a file that its next life may write with another end. Both are
        true; the one that others follow was sealed.
        """
        named = [
            Kept(Position(int(name[1])), Position(int(name[2])), path)
            for path in (sorted(self.folder.glob("*.ndjson.gz")) if self.folder.is_dir() else ())
            if (name := _NAME.fullmatch(path.name))
        ]
        beginnings = {kept.first for kept in named}
        found: dict[Position, Kept] = {}
        for kept in sorted(named, key=lambda kept: (kept.last + 1 in beginnings, kept.last)):
            found[kept.first] = kept
        chosen: list[Kept] = []
        for kept in sorted(found.values(), key=lambda kept: kept.first):
            if not chosen or kept.first > chosen[-1].last:
                chosen.append(kept)
        return chosen

    def head(self) -> Position:
        return max((kept.last for kept in self.segments()), default=ORIGIN)

    async def keep(self, segment: Segment, messages: tuple[RawMessage, ...]) -> Path:
        return await asyncio.to_thread(self._keep, segment, messages)

    def _keep(self, segment: Segment, messages: tuple[RawMessage, ...]) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{segment.first:012}-{segment.last:012}.ndjson.gz"
        aside = path.with_suffix(f".{token_hex(8)}.part")
        with aside.open("wb") as file:
            file.write(gzip.compress(lines_of(segment, messages), mtime=0))
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        fsync_folder(self.folder)
        return path

    def read(self, kept: Kept) -> tuple[Segment, tuple[RawMessage, ...]]:
        """The segment, checked against its own hash. Raises ArchiveBroken."""
        try:
            segment, messages = read_lines(gzip.decompress(kept.path.read_bytes()))
            again = segment_of(messages, segment.previous_hash)
        except (OSError, EOFError, zlib.error, SegmentBroken, ValueError) as error:
            raise ArchiveBroken(f"{kept.path} cannot be read: {error}") from error
        if again != segment or (segment.first, segment.last) != (kept.first, kept.last):
            raise ArchiveBroken(f"{kept.path} is not as it was written: its events have another hash than it says")
        return segment, messages

    def chain(self) -> Iterator[tuple[Segment, tuple[RawMessage, ...]]]:
        """All segments from the first event on, each following from the one before. Raises ArchiveBroken."""
        last, previous = ORIGIN, ""
        for kept in self.segments():
            if kept.first != last + 1:
                raise ArchiveBroken(f"{self.folder}: no file has position {last + 1}; the next one is {kept.path.name}")
            segment, messages = self.read(kept)
            if segment.previous_hash != previous:
                raise ArchiveBroken(f"{kept.path} does not follow from the segment before it: its hash is another one")
            last, previous = segment.last, segment.hash
            yield segment, messages

    async def messages(self) -> AsyncIterator[RawMessage]:
        """Raises ArchiveBroken."""
        chain = self.chain()
        while (found := await asyncio.to_thread(next, chain, None)) is not None:
            for message in found[1]:
                yield message
