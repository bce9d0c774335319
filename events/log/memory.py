"""The log in memory: the specification that JetStreamLog must equal, and what the simulator runs on."""

import asyncio
from collections.abc import AsyncIterator

from events.base import ORIGIN, EventId, Position, StreamName
from events.codec import Recorded, decode, encode, event_type
from events.log import Conflict, Draft, LogBroken, check_decision
from events.log.raw import RawMessage
from events.log.subjects import subject_of
from events.union import UnknownEvent


class MemoryLog:
    stale_since: float | None = None

    def __init__(self) -> None:
        self._recorded: list[Recorded] = []
        self._last: dict[StreamName, Position] = {}
        self._positions: dict[EventId, Position] = {}
        self._grown = asyncio.Event()

    async def append(self, stream: StreamName, drafts: tuple[Draft, ...], expected: Position) -> Position:
        check_decision(stream, drafts)
        repeated = self._positions.get(drafts[-1][1].id)
        actual = self._last.get(stream, ORIGIN)
        if repeated is not None:
            return repeated
        if actual != expected:
            raise Conflict(stream, expected, actual)
        position = actual
        for event, meta in drafts:
            position = Position(len(self._recorded) + 1)
            # Through the codec, so that nothing lives here that could not live on a wire.
            self._recorded.append(Recorded(position, stream, *decode(encode(event, meta))))
            self._positions[meta.id] = position
        self._last[stream] = position
        self._grown.set()
        self._grown = asyncio.Event()
        return position

    async def read(
        self, after: Position = ORIGIN, until: Position | None = None, stream: StreamName | None = None
    ) -> tuple[Recorded, ...]:
        found = self._recorded[after : len(self._recorded) if until is None else until]
        return tuple(found) if stream is None else tuple(r for r in found if r.stream == stream)

    async def raw(self, after: Position, until: Position) -> AsyncIterator[RawMessage]:
        for each in self._recorded[after:until]:
            yield message_of(each)

    async def raw_head(self) -> Position:
        return await self.head()

    async def head(self) -> Position:
        return Position(len(self._recorded))

    async def follow(self, after: Position) -> AsyncIterator[tuple[Recorded, ...]]:
        if after > len(self._recorded):
            raise LogBroken(f"the log ends at {len(self._recorded)}, but {after} was there before")
        while True:
            batch = tuple(self._recorded[after:])
            if batch:
                after = batch[-1].position
                yield batch
            else:
                await self._grown.wait()


def message_of(recorded: Recorded) -> RawMessage:
    """As it lies in a log that was written by this version. Raises LogBroken for an event that it does not know."""
    if isinstance(recorded.event, UnknownEvent):
        raise LogBroken(f"position {recorded.position} holds an event of another version")
    subject = f"{subject_of(recorded.stream)}.{event_type(recorded.event)}"
    return RawMessage(recorded.position, subject, "", encode(recorded.event, recorded.meta))
