"""A log whose network misbehaves, by seed: in front of any Log, for the contract suite and the simulator.

It tells only the truth that a real network allows: `LogUnavailable` when nothing was appended, `Ambiguous` when the
request or its answer was lost, or when the request is still on its way and arrives later. Never a wrong answer.
"""

import asyncio
from collections.abc import AsyncIterator
from random import Random

import msgspec

from events.base import ORIGIN, Position, StreamName
from events.codec import Recorded
from events.log import Ambiguous, Conflict, Draft, Log, LogUnavailable, check_decision


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """Probabilities, per append, from 0 to 1, and the longest delay of anything."""

    unavailable: float = 0.0
    request_lost: float = 0.0
    request_late: float = 0.0
    """Told `Ambiguous` now, appended later if the aggregate is still where the decision saw it."""
    answer_lost: float = 0.0
    longest_delay_s: float = 0.0


NONE = Faults()
ROUGH = Faults(unavailable=0.1, request_lost=0.1, request_late=0.1, answer_lost=0.2, longest_delay_s=0.005)


class FaultyLog:
    def __init__(self, log: Log, random: Random, faults: Faults) -> None:
        self._log = log
        self._random = random
        self.faults = faults
        """May be exchanged at any time; NONE ends all faults."""
        self._in = asyncio.Event()
        self._in.set()
        self._stale_since: float | None = None
        self._late: set[asyncio.Task[None]] = set()

    def cut(self) -> None:
        """The log is out of reach until `mend`; followers wait."""
        self._in.clear()
        self._stale_since = asyncio.get_running_loop().time()

    def mend(self) -> None:
        self._in.set()
        self._stale_since = None

    async def settle(self) -> None:
        """Until nothing is on its way any more."""
        while self._late:
            await asyncio.gather(*self._late)

    @property
    def stale_since(self) -> float | None:
        return self._stale_since if self._stale_since is not None else self._log.stale_since

    async def append(self, stream: StreamName, drafts: tuple[Draft, ...], expected: Position) -> Position:
        check_decision(stream, drafts)
        self._reach()
        faults, dice = self.faults, self._random.random()
        await self._delay()
        for chance, fault in (
            (faults.unavailable, "unavailable"),
            (faults.request_lost, "request lost"),
            (faults.request_late, "request late"),
            (faults.answer_lost, "answer lost"),
        ):
            dice -= chance
            if dice < 0:
                return await self._misbehave(fault, stream, drafts, expected)
        return await self._log.append(stream, drafts, expected)

    async def _misbehave(
        self, fault: str, stream: StreamName, drafts: tuple[Draft, ...], expected: Position
    ) -> Position:
        if fault == "unavailable":
            raise LogUnavailable("the dice said so")
        if fault == "request late":
            task = asyncio.create_task(self._append_late(stream, drafts, expected))
            self._late.add(task)
            task.add_done_callback(self._late.discard)
        elif fault == "answer lost":
            await self._log.append(stream, drafts, expected)
        raise Ambiguous(fault)

    async def _append_late(self, stream: StreamName, drafts: tuple[Draft, ...], expected: Position) -> None:
        await self._delay()
        try:
            await self._log.append(stream, drafts, expected)
        except (Conflict, LogUnavailable):
            return  # The sender has gone on meanwhile; nobody listens for this answer.

    async def read(
        self, after: Position = ORIGIN, until: Position | None = None, stream: StreamName | None = None
    ) -> tuple[Recorded, ...]:
        self._reach()
        await self._delay()
        return await self._log.read(after, until, stream)

    async def head(self) -> Position:
        self._reach()
        await self._delay()
        return await self._log.head()

    async def follow(self, after: Position) -> AsyncIterator[tuple[Recorded, ...]]:
        async for batch in self._log.follow(after):
            await self._delay()
            await self._in.wait()
            yield batch

    def _reach(self) -> None:
        if not self._in.is_set():
            raise LogUnavailable("the log is cut off")

    async def _delay(self) -> None:
        if self.faults.longest_delay_s:
            await asyncio.sleep(self._random.uniform(0, self.faults.longest_delay_s))
