"""The audit trail made anew from the log, beside the live one, compared with it, and put in its place.

Readers and the follower go on with the live rows all the while. A rebuild that is cut off leaves rows that nobody
reads; the next one begins by dropping them.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

import msgspec

from events.base import ORIGIN, Position
from events.codec import Recorded
from events.log import Log
from projections.audit import AuditRow, audit_row
from projections.stores.audit import AuditStore, Compared

BATCH = 8000
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
    head = await log.head()
    reached = await _fill(log, store, head, lambda rows: tell("rows", rows))
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
    """While one batch is on its way into the store the next one is made ready."""
    reached, writing = ORIGIN, asyncio.create_task(asyncio.sleep(0))
    try:
        async for batch in _batches(log, head):
            rows: list[AuditRow] = []
            for start in range(0, len(batch), 500):
                rows += map(audit_row, batch[start : start + 500])
                await asyncio.sleep(0)  # the writer has the same thread
            await writing
            writing = asyncio.create_task(store.append_rebuilt(rows))
            reached = rows[-1].position
            tell(reached)
        await writing
    finally:
        writing.cancel()
        await asyncio.wait({writing})
    return reached


async def _batches(log: Log, head: Position) -> AsyncIterator[list[Recorded]]:
    if head == ORIGIN:
        return
    held: list[Recorded] = []
    async with aclosing(log.follow(ORIGIN)) as following:  # type: ignore[type-var]
        async for some in following:
            held += some
            if len(held) >= BATCH or held[-1].position >= head:
                yield held
                if held[-1].position >= head:
                    return
                held = []
