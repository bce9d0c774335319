"""The notary: hashes a segment of the log, archives it, and says so in the log by a seal.

It is a reactor whose commands need the log's bytes: when one is due follows from a fold, and its id from the segment,
so a crash at any step is made good by taking the step again, and two notaries write one seal. The archive comes first:
a sealed segment is always archived.
"""

import asyncio
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from events.base import Actor, CommandId, CorrelationId, Position, derive
from events.codec import decode
from events.log import LogBroken, LogUnavailable
from events.log.raw import RawLog, RawMessage
from events.log.segments import Segment, is_whole, segment_of
from handlers.base import Refused
from handlers.clock import Clock
from handlers.deciders.seal import SealLog
from handlers.dispatch import Contended, Dispatch
from projections.seals import Seals, due
from projections.stores.objects import StoreUnavailable
from projections.view import View

_log = structlog.get_logger()
MOST, OLDEST = 5000, timedelta(hours=1)
"""A segment has so many events, or fewer when the first has waited so long."""
RETRY_S = 5.0


class Archive(Protocol):
    async def keep(self, segment: Segment, messages: tuple[RawMessage, ...]) -> None:
        """Raises StoreUnavailable."""
        ...


class Notary:
    def __init__(
        self,
        raw: RawLog,
        archive: Archive,
        dispatch: Dispatch,
        seals: View[Seals],
        clock: Clock,
        *,
        most: int = MOST,
        oldest: timedelta = OLDEST,
    ) -> None:
        self._raw, self._archive, self._dispatch = raw, archive, dispatch
        self._seals, self._clock = seals, clock
        self._most, self._oldest = most, oldest
        self._woken = asyncio.Event()
        seals.on_change(self._woken.set)

    async def run(self) -> None:
        """For ever. What it cannot seal it says, and tries again: the plane goes on without seals."""
        while True:
            self._woken.clear()
            now = self._clock.now()
            at = due(self._seals.state, now, self._most, self._oldest)
            if at is not None and at <= now:
                try:
                    await self.seal()
                except (LogUnavailable, LogBroken, Contended, Refused, StoreUnavailable) as error:
                    _log.error("a seal is late", why=str(error), retry_in_s=RETRY_S)
                    await asyncio.sleep(RETRY_S)
            else:
                await self._sleep(at, now)

    async def _sleep(self, at: datetime | None, now: datetime) -> None:
        try:
            async with asyncio.timeout(None if at is None else max(0.001, (at - now).total_seconds())):
                await self._woken.wait()
        except TimeoutError:
            return

    async def seal(self) -> Segment | None:
        """The next segment; None when there is no whole decision after the last one. Raises LogBroken, …"""
        state = self._seals.state
        after, previous = state.last, state.hash
        messages = await self._segment(after, state.whole)
        if not messages:
            return None
        segment = segment_of(messages, previous)
        await self._archive.keep(segment, messages)
        _, meta = decode(messages[-1].body)
        await self._dispatch(
            SealLog(
                id=CommandId(derive("notary", segment.last, segment.hash, length=24)),
                actor=Actor("reactor:notary", "internal"),
                correlation_id=CorrelationId(meta.correlation_id),
                causation_id=meta.id,
                first=segment.first,
                last=segment.last,
                hash=segment.hash,
                previous_hash=segment.previous_hash,
            )
        )
        return segment

    async def _segment(self, after: Position, until: Position) -> tuple[RawMessage, ...]:
        """Whole decisions only, so that an archive never ends within one."""
        messages: list[RawMessage] = []
        async with aclosing(self._raw.raw(after, until)) as reading:  # type: ignore[type-var]
            async for message in reading:
                if message.position != after + len(messages) + 1:
                    break
                messages.append(message)
                if len(messages) >= self._most and is_whole(message):
                    return tuple(messages)
        if after + len(messages) != until:
            raise LogBroken(f"position {after + len(messages) + 1} of the log cannot be read, so it is not sealed")
        return tuple(messages)
