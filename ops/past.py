"""A log with states kept beside it: read like any log, never written, and every past state is a short fold away.

A capsule is one too: its log begins at a position, and the states there came with it.
"""

from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Protocol, TypeVar

from events.base import ORIGIN, Position, StreamName
from events.codec import Recorded
from events.log import Draft, Log, LogUnavailable
from projections.base import Projection
from projections.stores.kept import Kept, KeptSnapshots, belongs
from projections.stores.whereabouts import KeptWhereabouts
from projections.whereabouts import Stretch

S = TypeVar("S")
HISTORY = "history"
"""The folder, among those of snapshots, of the ones that are kept for looking back."""


class NoSuchPosition(LookupError):
    """The moment lies outside the log."""


class Keeper(Protocol):
    """Gives kept states: the last one at or before a position. `in_part`: one whose mappings may be `Unread`."""

    async def nearest(self, projection: Projection[S], until: Position, in_part: bool = False) -> Kept[S] | None: ...


class Past:
    """`beginning`: the position before the first event that can be read; 0 for a whole log. `began_at`: the time of
    the event there."""

    def __init__(
        self,
        log: Log,
        keeper: Keeper,
        beginning: Position = ORIGIN,
        began_at: datetime | None = None,
        index: KeptWhereabouts | None = None,
    ) -> None:
        self._log, self._keeper, self._index = log, keeper, index
        self.beginning, self.began_at = beginning, began_at

    async def start(self, projection: Projection[S], until: Position, in_part: bool) -> tuple[S, Position]:
        """From where to fold to get to `until`. Raises NoSuchPosition."""
        if until < self.beginning:
            raise NoSuchPosition(f"the history begins at position {self.beginning}, after {until}")
        found = await self._keeper.nearest(projection, until, in_part)
        if found is not None and (found.position == self.beginning or await belongs(self._log, found)):
            return found.state, found.position
        if self.beginning > ORIGIN:
            raise NoSuchPosition(
                f"the history begins at position {self.beginning}, without {projection.name} as of there"
            )
        return projection.initial(), ORIGIN

    async def whereabouts(self) -> list[Stretch]:
        return [] if self._index is None else await self._index.of(self._log)

    async def append(self, stream: StreamName, drafts: tuple[Draft, ...], expected: Position) -> Position:
        raise LogUnavailable(f"who looks back adds nothing: {stream} at {expected} and {len(drafts)} events")

    async def read(
        self, after: Position = ORIGIN, until: Position | None = None, stream: StreamName | None = None
    ) -> tuple[Recorded, ...]:
        return await self._log.read(after, until, stream)

    async def head(self) -> Position:
        return await self._log.head()

    def follow(self, after: Position) -> AsyncIterator[tuple[Recorded, ...]]:
        return self._log.follow(after)

    @property
    def stale_since(self) -> float | None:
        return self._log.stale_since


def past_of(log: Log, snapshots: Path) -> Past:
    """The log with what the control process keeps in the folder of snapshots."""
    return Past(log, KeptSnapshots(snapshots / HISTORY), index=KeptWhereabouts(snapshots / HISTORY))


async def start_of(log: Log, projection: Projection[S], until: Position, in_part: bool = False) -> tuple[S, Position]:
    """A state at `until` or before, and its position: as near as is kept. Raises NoSuchPosition.

    `in_part`: only a few of its values will be asked for, so its mappings may be `Unread`.
    """
    if isinstance(log, Past):
        return await log.start(projection, until, in_part)
    return projection.initial(), ORIGIN


async def whereabouts_of(log: Log) -> list[Stretch]:
    """Indexes of the log from its first event on, as far as they are kept."""
    return await log.whereabouts() if isinstance(log, Past) else []


def beginning_of(log: Log) -> Position:
    """The position before the first event that can be read."""
    return log.beginning if isinstance(log, Past) else ORIGIN


def began_at_of(log: Log) -> datetime | None:
    """The time of the event at the beginning; None where there is none, or nobody knows."""
    return log.began_at if isinstance(log, Past) else None
