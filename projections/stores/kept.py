"""Snapshots at many positions, kept so that a past state is near: fold only from the last one before it.

Never the truth: one that cannot be read, or that another version of the fold made, is passed over. Their number is
bounded: as the log grows they stand further apart, evenly, and the first of every stretch stays. Each carries the id
of the event at its position, by which a reader knows that it belongs to the log at hand.
"""

import asyncio
import gc
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec
import structlog
from zstandard import ZstdCompressor, ZstdDecompressor, ZstdError

from events.base import EventId, Position
from events.log import Log
from projections.base import Projection
from projections.stores.unread import read_state
from projections.stores.whole import write_whole
from projections.view import View

_log = structlog.get_logger()
S = TypeVar("S")
FORMAT = 2
"""Of the files. Those of another format are deleted like those of another version of the fold, and made anew."""
EVERY, MOST = 8192, 128
"""Events between two snapshots while the log is short; how many there are at most, of each fold."""
BYTES_MAX = 1 << 30
"""Of all files together."""
_QUICK = 1
"""The level: it packs five times and unpacks three times as fast as the quickest of zlib, into four fifths."""


class Kept(msgspec.Struct, Generic[S], frozen=True):
    """A state with its place in the log; `event_id`: of the event there."""

    state: S
    position: Position
    event_id: EventId


class KeptSnapshots:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _of(self, projection: Projection[Any]) -> Path:
        return self._folder / f"{projection.name}.v{projection.version}.f{FORMAT}"

    def positions(self, projection: Projection[Any]) -> tuple[Position, ...]:
        """In rising order."""
        return tuple(sorted(Position(int(each.stem)) for each in self._of(projection).glob("*.snapshot")))

    async def nearest(self, projection: Projection[S], until: Position, in_part: bool = False) -> Kept[S] | None:
        """The last good one at this position or before it. `in_part`: with mappings that are `Unread`."""
        for position in reversed(self.positions(projection)):
            if position <= until:
                path = self._path(projection, position)
                found = await asyncio.to_thread(_read, path, projection, position, in_part)
                if found is not None:
                    return found
        return None

    def _path(self, projection: Projection[Any], position: Position) -> Path:
        return self._of(projection) / f"{position:012d}.snapshot"

    async def save(self, views: Sequence[View[Any]]) -> None:
        """What is encoded is the state of now."""
        contents = [
            (self._path(view.projection, view.position), msgspec.msgpack.encode((view.event_id, view.state)))
            for view in views
        ]
        await asyncio.to_thread(_write_all, contents)

    async def thin(self, projections: Sequence[Projection[Any]], apart: int) -> int:
        """Drops what stands nearer than `apart`, and more while they are too many bytes. Gives how far
        apart they are now."""
        return await asyncio.to_thread(self._thin, projections, apart)

    def _thin(self, projections: Sequence[Projection[Any]], apart: int) -> int:
        for other in self._other_versions(projections):
            shutil.rmtree(other)
        while True:
            for projection in projections:
                firsts = {each // apart: each for each in reversed(self.positions(projection))}
                for position in self.positions(projection)[:-1]:
                    if firsts[position // apart] != position:
                        self._path(projection, position).unlink(missing_ok=True)
            sizes = [each.stat().st_size for each in self._folder.glob("*/*.snapshot")]
            if sum(sizes) <= BYTES_MAX or len(sizes) <= 2 * len(projections):
                return apart
            apart *= 2

    def _other_versions(self, projections: Sequence[Projection[Any]]) -> list[Path]:
        ours = {self._of(each) for each in projections}
        names = {each.name for each in projections}
        return [
            each for each in self._folder.glob("*.v*") if each.name.rpartition(".v")[0] in names and each not in ours
        ]


def apart_at(head: Position) -> int:
    """How far apart snapshots stand when the log is this long."""
    apart = EVERY
    while head // apart > MOST:
        apart *= 2
    return apart


async def keep_snapshots(log: Log, kept: KeptSnapshots, projections: Sequence[Projection[Any]]) -> None:
    """Follows the log for ever and saves a snapshot of each fold at every so many events: exactly there, because how
    far a question has to fold is how far they stand apart.
    """
    views = [View(each) for each in projections]
    head = await log.head()
    for view in views:
        found = await kept.nearest(view.projection, head)
        if found is not None and await belongs(log, found):
            view.restore(found.state, found.position, found.event_id)
    apart = EVERY
    async for batch in log.follow(min(view.position for view in views)):
        while batch:
            apart = max(apart, apart_at(batch[0].position))
            until_due = apart - (batch[0].position - 1) % apart
            some, batch = batch[:until_due], batch[until_due:]
            for view in views:
                view.fold(some)
            if len(some) == until_due:
                await kept.save(views)
                apart = await kept.thin(projections, apart)


async def belongs(log: Log, kept: Kept[Any]) -> bool:
    """Whether it was made from this log: another one, or an older copy of it, has another event there."""
    there = await log.read(Position(kept.position - 1), kept.position)
    return bool(there) and there[0].meta.id == kept.event_id


@contextmanager
def collecting_later() -> Iterator[None]:
    """A state is made of a million objects and no cycles: to look for some meanwhile would take most of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _read(path: Path, projection: Projection[S], position: Position, in_part: bool) -> Kept[S] | None:
    try:
        content = ZstdDecompressor().decompress(path.read_bytes())
        with collecting_later():
            event_id, raw = msgspec.msgpack.decode(content, type=tuple[EventId, msgspec.Raw])
            read = read_state if in_part else _whole
            return Kept(read(projection.state_type, raw), position, event_id)
    except FileNotFoundError:
        return None
    except (ZstdError, msgspec.MsgspecError) as error:
        _log.warning("snapshot ignored", path=str(path), error=str(error))
        return None


def _whole(kind: Any, raw: msgspec.Raw) -> Any:
    return msgspec.msgpack.decode(raw, type=kind)


def _write_all(contents: Sequence[tuple[Path, bytes]]) -> None:
    for path, content in contents:
        write_whole(path, ZstdCompressor(_QUICK, write_checksum=True).compress(content))
