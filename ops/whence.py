"""Following causes back through a log of any length: by the index that is kept beside it, one event read at a time.

What the index does not cover (the newest events, or all of a history that has none) is indexed when it is asked for.
"""

import asyncio
from collections.abc import Callable, Sequence

from events.base import ORIGIN, Position
from events.codec import Recorded
from events.log import Log
from ops.names import NAMES, Names, known, resolve
from ops.past import beginning_of, start_of, whereabouts_of
from ops.replay import history, snapshot_at, state_at
from projections.causality import Link, link
from projections.entities import entities
from projections.view import View
from projections.whereabouts import Stretch, naming_positions, own_positions, positions_of, stretch

AT_ONCE = 64
"""Events that are asked for together."""


class Whence:
    def __init__(self, log: Log, names: Names, stretches: Sequence[Stretch], head: Position) -> None:
        """`stretches`: all of the log up to `head`, in order."""
        self.log, self.names, self.head = log, names, head
        self._stretches = stretches
        self._read: dict[Position, Recorded] = {}

    async def entity(self, text: str) -> str | None:
        """The id that this id or name stands for."""
        return known(self.names, text) or (text if await self._mentioned(text) else None)

    async def _mentioned(self, entity: str) -> bool:
        """By an event, or by a state with which the history begins."""
        if await self.last(entity) is not None:
            return True
        beginning = beginning_of(self.log)
        return beginning > ORIGIN and bool((await snapshot_at(self.log, entity, beginning)).state)

    async def at(self, position: Position) -> Recorded:
        if position not in self._read:
            (self._read[position],) = await self.log.read(Position(position - 1), position)
        return self._read[position]

    async def event(self, event_id: str) -> Recorded | None:
        for each in reversed(self._stretches):
            for position in positions_of(each, event_id):
                found = await self.at(position)
                if found.meta.id == event_id:
                    return found
        return None

    async def first(self, entity: str) -> Recorded | None:
        """The first event of the entity's own history."""
        for position in self._all(own_positions, entity):
            found = await self.at(position)
            if found.stream.id == entity:
                return found
        return None

    async def last(self, entity: str) -> Recorded | None:
        """The last event of the entity's own history, else the last that names it."""
        for kind in (own_positions, naming_positions):
            for position in reversed(self._all(kind, entity)):
                found = await self.at(position)
                if found.stream.id == entity or entity in entities(found.stream, found.event):
                    return found
        return None

    async def about(self, entity: str) -> list[Recorded]:
        """Every event that names the entity in any role, in order."""
        found = await self.several(self.concerning(entity))
        return [each for each in found if entity in entities(each.stream, each.event)]

    def concerning(self, entity: str, owner: str = "") -> list[Position]:
        """Where the events are that name the entity in any role, and those of the owner's own history; hardly ever
        one too many, never one too few."""
        several = (*self._all(own_positions, entity), *self._all(naming_positions, entity))
        return sorted({*several, *(self._all(own_positions, owner) if owner else ())})

    async def life_after(self, recorded: Recorded) -> list[Recorded]:
        """What happened to its aggregate after the event."""
        own = [each for each in self._all(own_positions, recorded.stream.id) if each > recorded.position]
        return [each for each in await self.several(own) if each.stream == recorded.stream]

    async def link(self, recorded: Recorded) -> Link:
        cause_id = recorded.meta.causation_id
        cause = None if cause_id is None else await self.event(cause_id)
        if cause is not None and cause.position >= recorded.position:
            cause = None
        before = [each for each in self._all(own_positions, recorded.stream.id) if each < recorded.position]
        return link(recorded, cause, await self._of(before, recorded), await self._of(before[::-1], recorded))

    async def chain(self, recorded: Recorded) -> list[tuple[Recorded, Link]]:
        """From what began it to the event itself. Stops early where a cause is not in this history."""
        found = [(recorded, await self.link(recorded))]
        while (parent := found[-1][1].parent) is not None:
            cause = await self.event(parent)
            if cause is None or cause.position >= found[-1][0].position:
                break
            found.append((cause, await self.link(cause)))
        return found[::-1]

    async def cause_of(self, found: Link) -> Position | None:
        cause = None if found.parent is None else await self.event(found.parent)
        return None if cause is None else cause.position

    def _all(self, kind: Callable[[Stretch, str], list[Position]], entity: str) -> list[Position]:
        return [position for each in self._stretches for position in kind(each, entity)]

    async def _of(self, positions: Sequence[Position], like: Recorded) -> Recorded | None:
        """The first of these that belongs to the same aggregate."""
        for position in positions:
            found = await self.at(position)
            if found.stream == like.stream:
                return found
        return None

    async def several(self, positions: Sequence[Position]) -> list[Recorded]:
        """The events at these positions."""
        found: list[Recorded] = []
        for begin in range(0, len(positions), AT_ONCE):
            found += await asyncio.gather(*map(self.at, positions[begin : begin + AT_ONCE]))
        return found


async def whence_of(log: Log) -> Whence:
    head, kept = await log.head(), await whereabouts_of(log)
    after = kept[-1].last if kept else beginning_of(log)
    names = View(NAMES)
    names.restore(*await start_of(log, NAMES, head))
    async for piece in history(log, min(after, names.position), head):
        names.fold(piece)
        if new := [each for each in piece if each.position > after]:
            kept.append(stretch(after, new))
            after = new[-1].position
    return Whence(log, names.state, kept, head)


async def entity_of(log: Log, text: str, *then: Position) -> str:
    """The id that this id or name stands for; `then`: or stood for there, which counts first. Raises UnknownName."""
    for each in then:
        if found := known(await state_at(log, NAMES, each), text):
            return found
    names = await state_at(log, NAMES)
    return known(names, text) or await (await whence_of(log)).entity(text) or resolve(names, text)
