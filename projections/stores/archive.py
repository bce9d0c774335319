"""The archive: each sealed segment as a compressed object of its own, readable without a broker.

`<first>-<last>.ndjson.gz` with the same bytes for the same segment, so two writers are harmless. It lies in a folder
or a bucket, as the store of objects does, and can be copied anywhere with any tool.
"""

import asyncio
import gzip
import re
import zlib
from collections.abc import AsyncIterator

import msgspec

from events.base import ORIGIN, Position
from events.log.raw import RawMessage
from events.log.segments import Segment, SegmentBroken, lines_of, read_lines, segment_of
from projections.stores.objects import ObjectMissing, Objects

_NAME = re.compile(r"(\d{12})-(\d{12})\.ndjson\.gz")


class ArchiveBroken(Exception):
    """A segment of the archive is missing or is not as it was written."""


class Kept(msgspec.Struct, frozen=True):
    """A segment's object, as its name says."""

    first: Position
    last: Position

    @property
    def name(self) -> str:
        return f"{self.first:012}-{self.last:012}.ndjson.gz"


class Archive:
    """Every method raises StoreUnavailable where the store does."""

    def __init__(self, objects: Objects, place: str) -> None:
        """`place`: what a person calls the store, a folder or `s3://bucket/prefix`."""
        self._objects = objects
        self.place = place

    def where(self, kept: Kept) -> str:
        return f"{self.place}/{kept.name}"

    async def segments(self) -> list[Kept]:
        """In order, each once.

        A notary that was killed before it sealed leaves an object that its next life may write with another end. Both
        are true; the one that others follow was sealed.
        """
        named = [
            Kept(Position(int(name[1])), Position(int(name[2])))
            async for stored in self._objects.list("")
            if (name := _NAME.fullmatch(stored.key))
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

    async def head(self) -> Position:
        return max((kept.last for kept in await self.segments()), default=ORIGIN)

    async def keep(self, segment: Segment, messages: tuple[RawMessage, ...]) -> None:
        content = await asyncio.to_thread(lambda: gzip.compress(lines_of(segment, messages), mtime=0))
        await self._objects.put(Kept(segment.first, segment.last).name, content)

    async def read(self, kept: Kept) -> tuple[Segment, tuple[RawMessage, ...]]:
        """The segment, checked against its own hash. Raises ArchiveBroken."""
        try:
            content = await self._objects.read(kept.name)
            return await asyncio.to_thread(_checked, content, kept)
        except (ObjectMissing, EOFError, zlib.error, gzip.BadGzipFile, SegmentBroken, ValueError) as error:
            raise ArchiveBroken(f"{self.where(kept)} cannot be read: {error}") from error

    async def chain(self) -> AsyncIterator[tuple[Segment, tuple[RawMessage, ...]]]:
        """All segments from the first event on, each following from the one before. Raises ArchiveBroken."""
        last, previous = ORIGIN, ""
        for kept in await self.segments():
            if kept.first != last + 1:
                raise ArchiveBroken(f"{self.place}: nothing has position {last + 1}; the next one is {kept.name}")
            segment, messages = await self.read(kept)
            if segment.previous_hash != previous:
                what = "does not follow from the segment before it: its hash is another one"
                raise ArchiveBroken(f"{self.where(kept)} {what}")
            last, previous = segment.last, segment.hash
            yield segment, messages

    async def messages(self) -> AsyncIterator[RawMessage]:
        """Raises ArchiveBroken."""
        async for _, messages in self.chain():
            for message in messages:
                yield message


def _checked(content: bytes, kept: Kept) -> tuple[Segment, tuple[RawMessage, ...]]:
    segment, messages = read_lines(gzip.decompress(content))
    if segment_of(messages, segment.previous_hash) != segment or (segment.first, segment.last) != (
        kept.first,
        kept.last,
    ):
        raise SegmentBroken("its events have another hash than it says")
    return segment, messages
