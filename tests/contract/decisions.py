"""Decisions to append, and the patience that every caller of `append` needs, for the contract suite."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, cast

from events.base import Actor, CommandId, CorrelationId, EventId, Metadata, NodeId, Position, StreamName, derive
from events.codec import Recorded
from events.log import Ambiguous, Conflict, Draft, Log, LogUnavailable
from events.node import NodeLeft

AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
TRIES = 200
GENEROUS_S = 60.0


def node(name: str) -> StreamName:
    return StreamName("node", name)


def decision(command: str, count: int = 1, of: str = "a") -> tuple[Draft, ...]:
    """What a command of that id decides: always the same events with the same ids."""
    return tuple(
        (
            NodeLeft(node_id=NodeId(of), reason=f"{command} {index}"),
            Metadata(
                id=EventId(derive("event", command, index)),
                command_id=CommandId(command),
                correlation_id=CorrelationId(command),
                causation_id=None,
                actor=Actor("operator", "test"),
                at=AT,
                index=index,
                count=count,
            ),
        )
        for index in range(count)
    )


async def append(log: Log, stream: StreamName, drafts: tuple[Draft, ...], expected: int) -> Position:
    """Appends the same drafts under the same expectation until there is an answer, as a careful caller does."""
    for _ in range(TRIES):
        try:
            return await log.append(stream, drafts, Position(expected))
        except (Ambiguous, LogUnavailable):
            await asyncio.sleep(0.002)
    raise AssertionError(f"no answer in {TRIES} tries")


async def conflict(log: Log, stream: StreamName, drafts: tuple[Draft, ...], expected: int) -> Position:
    """Expects a Conflict; the actual position that it names."""
    try:
        position = await append(log, stream, drafts, expected)
    except Conflict as refused:
        return refused.actual
    raise AssertionError(f"appended at {position}, though {stream} is not at {expected}")


async def followed(log: Log, after: int, until: int) -> list[tuple[Recorded, ...]]:
    """The batches that a follower gets until it has seen the position."""
    batches: list[tuple[Recorded, ...]] = []
    batch_stream = cast(Any, log.follow(Position(after)))
    async with asyncio.timeout(GENEROUS_S), aclosing(batch_stream) as stream:
        async for batch in cast(AsyncIterator[tuple[Recorded, ...]], stream):
            batches.append(batch)
            if batch[-1].position >= until:
                break
    return batches


def flat(batches: list[tuple[Recorded, ...]]) -> list[Recorded]:
    return [recorded for batch in batches for recorded in batch]


def words(recorded: list[Recorded] | tuple[Recorded, ...]) -> list[str]:
    return [one.event.reason for one in recorded if isinstance(one.event, NodeLeft)]
