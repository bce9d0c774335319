"""The audit trail made anew from the log, beside the live one, compared with it, and put in its place.

Readers and the follower go on with the live rows all the while. A rebuild that is cut off leaves rows that nobody
reads; the next one begins by dropping them.
"""

import asyncio
from collections.abc import Callable
from contextlib import aclosing

import msgspec

from events.base import ORIGIN, Position
from events.codec import Recorded
from events.log import Log
from projections.audit import AuditRow, audit_row
from projections.stores.audit import AuditStore, Compared

BATCH, READ_AHEAD = 8000, 2
SWITCHES = 20


class Rebuilt(msgspec.Struct, frozen=True):
    rows: int
    compared: Compared
    switched: bool


async def rebuild(
    log: Log, store: AuditStore, *, switch: bool, tell: Callable[[str, int], None] = lambda step, rows: None
) -> Rebuilt:
    """`tell`: each step with the rows so far. Raises AuditUnavailable, LogUnavailable, LogBroken."""
    await store.begin_rebuild()
    try:
        reached = await _fill(log, store, await log.head(), lambda rows: tell("rows", rows))
    except ExceptionGroup as several:  # of what goes on at once, the first to fail says why
        raise several.exceptions[0] from several
    tell("indexes", reached)
    await store.index_rebuilt()
    tell("compare", reached)
    compared = await store.compare_rebuilt()
    if not switch:
        await store.drop_rebuilt()
        return Rebuilt(reached, compared, switched=False)
    for _ in range(SWITCHES):
        tail = [audit_row(each) for each in await log.read(reached)]
        if await store.switch_to_rebuilt(reached, tail):
            return Rebuilt(reached, compared, switched=True)
        await store.append_rebuilt(tail)
        reached = tail[-1].position if tail else reached
    raise RuntimeError(f"the live trail was ahead of the log {SWITCHES} times: is it another log's?")


async def _fill(log: Log, store: AuditStore, head: Position, tell: Callable[[int], None]) -> Position:
    """Three things go on at once: the log is read, rows are made, and rows are on their way into the store."""
    if head == ORIGIN:
        return ORIGIN
    read: asyncio.Queue[list[Recorded]] = asyncio.Queue(READ_AHEAD)
    reached = ORIGIN
    async with asyncio.TaskGroup() as group:
        group.create_task(_read(log, head, read))
        writing: asyncio.Task[None] | None = None
        while reached < head:
            rows = await _rows(await read.get())
            if writing is not None:
                await writing
            writing = group.create_task(store.append_rebuilt(rows))
            reached = rows[-1].position
            tell(reached)
    return reached


async def _rows(batch: list[Recorded]) -> list[AuditRow]:
    rows: list[AuditRow] = []
    for start in range(0, len(batch), 250):
        rows += map(audit_row, batch[start : start + 250])
        await asyncio.sleep(0)  # the reader and the writer have the same thread
    return rows


async def _read(log: Log, head: Position, into: "asyncio.Queue[list[Recorded]]") -> None:
    """Batches up to the head or a little further."""
    held: list[Recorded] = []
    async with aclosing(log.follow(ORIGIN)) as following:  # type: ignore[type-var]
        async for some in following:
            held += some
            if len(held) >= BATCH or held[-1].position >= head:
                await into.put(held)
                if held[-1].position >= head:
                    return
                held = []
