"""Refused commands: who tried what, and why it was not done. Kept for months in a stream of their own.

A refusal changes nothing, so it is no event: the log holds facts, and every position of it is folded by everybody.
It is also more than a signal: somebody may ask next week. Keeping one never delays or fails the answer to the caller
by more than a moment (ADR 0008).
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Protocol

import msgspec

from events.base import Actor, CommandId, CorrelationId, EventId, Position

KEPT_S = 90 * 24 * 3600.0


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    """Derived from the command, the kind and the reason: a repeat is recognised."""
    at: datetime
    command: str
    """Its type: `PushDeployment`."""
    category: str
    entity: str
    """The aggregate that it was about, within its category."""
    actor: Actor
    kind: str
    reason: str
    field: str | None
    correlation_id: CorrelationId
    causation_id: EventId | None
    command_id: CommandId
    position: Position
    """What the decider had seen of the log."""
    body: str
    """The command's own fields as JSON text."""


class KeptRefusal(msgspec.Struct, frozen=True):
    sequence: int
    """In the stream, from 1, rising."""
    refusal: Refusal


class RefusalsUnavailable(Exception):
    """The stream does not answer."""


class Refusals(Protocol):
    async def keep(self, refusal: Refusal) -> None:
        """Keeps it if it can; says so in the process's log when it cannot. Never raises for a channel that is away."""
        ...

    def follow(self, after: int) -> AsyncIterator[tuple[KeptRefusal, ...]]:
        """What is kept after that place, for ever. `after` past the end means that the stream was begun anew: then all.

        Nothing, now and then, while there is nothing new: the reader may look whether its own place still holds.

        Raises RefusalsUnavailable.
        """
        ...


class MemoryRefusals:
    def __init__(self) -> None:
        self.kept: list[Refusal] = []
        self._grown = asyncio.Event()

    async def keep(self, refusal: Refusal) -> None:
        if all(each.id != refusal.id for each in self.kept):
            self.kept.append(refusal)
            self._grown.set()
            self._grown = asyncio.Event()

    async def follow(self, after: int) -> AsyncIterator[tuple[KeptRefusal, ...]]:
        after = after if after <= len(self.kept) else 0
        while True:
            new = tuple(KeptRefusal(after + n, each) for n, each in enumerate(self.kept[after:], 1))
            after += len(new)
            if new:
                yield new
            else:
                await self._grown.wait()
