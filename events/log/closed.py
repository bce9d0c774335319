"""A history that has ended: the events of a capsule or of an archive, read as a log that never grows."""

from collections.abc import AsyncIterator, Sequence

from events.base import ORIGIN, Position, StreamName
from events.codec import Recorded
from events.log import Draft, LogUnavailable


class ClosedLog:
    stale_since: float | None = None

    def __init__(self, begin: Position, events: Sequence[Recorded]) -> None:
        """`begin`: the position before the first of them."""
        self._begin, self._events = begin, tuple(events)

    async def append(self, stream: StreamName, drafts: tuple[Draft, ...], expected: Position) -> Position:
        raise LogUnavailable("this is history: nothing can be added")

    async def read(
        self, after: Position = ORIGIN, until: Position | None = None, stream: StreamName | None = None
    ) -> tuple[Recorded, ...]:
        last = len(self._events) if until is None else max(until - self._begin, 0)
        found = self._events[max(after - self._begin, 0) : last]
        return found if stream is None else tuple(each for each in found if each.stream == stream)

    async def head(self) -> Position:
        return Position(self._begin + len(self._events))

    async def follow(self, after: Position) -> AsyncIterator[tuple[Recorded, ...]]:
        """What there is; then it ends, for nothing more will come."""
        rest = await self.read(after)
        if rest:
            yield rest
