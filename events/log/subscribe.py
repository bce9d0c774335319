"""Typed events for a program of yours, from where it left off: needs nats-py and msgspec, and nothing else of ours.

    async for recorded in subscribe("nats://127.0.0.1:4222", "my-program", types=("Replica*",)):
        ...

An event counts as seen when the loop asks for the next one. After a crash the few seen since the place was last kept
come again, in order; none is left out. Restarts of the server are waited for. Where a person has gone on without events
that were lost, a program that had seen some of those gets `LossAccepted`, whatever its types, and then all that came
in their place.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing
from fnmatch import fnmatchcase
from typing import cast

from events.base import ORIGIN, EventId, Position
from events.codec import Recorded, event_type
from events.log.cursors import Cursor, Cursors, CursorsUnavailable
from events.log.jetstream import JetStreamLog
from events.log.jetstream_cursors import open_cursors
from events.log.losses import accepted_losses, taken_back, unknown_to
from events.log.nats_wire import Login
from events.seal import LossAccepted

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
KEEP_EVERY = 100
"""Events between two times that the place is kept, when more are there already."""
RETRY_S = 1.0


async def subscribe(
    url: str,
    name: str,
    *,
    types: Sequence[str] = (),
    after: Position = ORIGIN,
    user: str | None = None,
    password: str | None = None,
    token: str | None = None,
) -> AsyncGenerator[Recorded, None]:
    """Events for ever, in order. `name` is the program's own: its place is kept in the server under it.

    `after` counts only when there is no place yet. `types` are exact, or patterns: `Replica*`. One program a name at
    a time. Raises ValueError, LogUnavailable, CursorsUnavailable at its beginning, LogBroken at any time.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name for a subscription: 1 to 64 letters, digits, _ and -")
    if isinstance(types, str):
        raise ValueError(f"types is a sequence of names or patterns: write ({types!r},)")
    if after < ORIGIN:
        raise ValueError(f"after is a position, 0 or more, not {after}")
    log = await JetStreamLog.connect(url, user=user, password=password, token=token)
    try:
        async with open_cursors(Login(url=url, user=user, password=password, token=token)) as cursors:
            known, losses = await cursors.load(name), await accepted_losses(log)
            if known is None:
                known = Cursor(after, tuple(each.meta.id for each in losses if each.position <= after))
            unknown = unknown_to(known.position, known.losses, losses)
            place = Place(cursors, name, Cursor(taken_back(known.position, unknown), known.losses))
            told = {each.meta.id for each in unknown}
            async with aclosing(_events(log, place, tuple(types), told)) as events:
                async for recorded in events:
                    yield recorded
    finally:
        await log.close()


class Place:
    """How far the program has seen, and how far the server knows that."""

    def __init__(self, cursors: Cursors, name: str, cursor: Cursor) -> None:
        self._cursors, self._name = cursors, name
        self.seen = self._kept = cursor.position
        self._losses = cursor.losses

    def passed(self, recorded: Recorded) -> None:
        self.seen = recorded.position
        if isinstance(recorded.event, LossAccepted):
            self._losses = (*self._losses, recorded.meta.id)

    async def keep(self, at_least: int = 1) -> None:
        """If so many positions are not kept yet. Waits for a server that is away."""
        while self.seen - self._kept >= at_least:
            try:
                await self._cursors.save(self._name, Cursor(self.seen, self._losses))
                self._kept = self.seen
            except CursorsUnavailable:
                await asyncio.sleep(RETRY_S)


async def _events(
    log: JetStreamLog, place: Place, types: tuple[str, ...], told: Collection[EventId]
) -> AsyncGenerator[Recorded, None]:
    """`told`: ids of events that come whatever their type."""
    following = cast(AsyncGenerator[tuple[Recorded, ...], None], log.follow(place.seen))
    try:
        async for batch in following:
            for recorded in batch:
                name = event_type(recorded.event)
                if not types or any(fnmatchcase(name, each) for each in types) or recorded.meta.id in told:
                    yield recorded
                place.passed(recorded)
                await place.keep(KEEP_EVERY)
            await place.keep()
    finally:
        await following.aclose()
        # Not waited for: whoever leaves while the server is away gets a few events again.
        await _once(place)


async def _once(place: Place) -> None:
    try:
        async with asyncio.timeout(RETRY_S):
            await place.keep()
    except TimeoutError:
        return
