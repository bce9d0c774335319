"""The audit trail made anew from the log, beside the live one, compared with it, and put in its place.

Readers and the follower go on with the live rows all the while. A rebuild that is cut off leaves at most rows that
nobody reads; the next one begins by dropping them.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

import msgspec

from events.base import ORIGIN
from events.codec import Recorded
from events.log import Log
from projections.audit import audit_row
from projections.stores.audit import AuditStore, AuditUnavailable, Compared

SWITCHES = 40
"""Tries: they last longer than the login for readers may hold a transaction open."""


class Rebuilt(msgspec.Struct, frozen=True):
    rows: int
    compared: Compared
    switched: bool


async def rebuild(
    log: Log, store: AuditStore, *, switch: bool, tell: Callable[[str, int], None] = lambda step, rows: None
) -> Rebuilt:
    """`tell`: each step with the rows so far. Raises AuditUnavailable, LogUnavailable, LogBroken."""
    reached, head = ORIGIN, await log.head()

    async def events() -> AsyncIterator[tuple[Recorded, ...]]:
        """Up to the head or a little further."""
        nonlocal reached
        async with aclosing(log.follow(ORIGIN)) as following:  # type: ignore[type-var]
            while reached < head:
                some = await anext(following)
                yield some
                reached = some[-1].position
                tell("rows", reached)
        tell("indexes", reached)

    async with store.rebuilding():
        async with aclosing(events()) as source:  # type: ignore[type-var]
            await store.fill_rebuilt(source)
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
        await store.drop_rebuilt()
    raise AuditUnavailable(
        f"the rebuilt rows could not take the place of the live ones in {SWITCHES} tries: somebody reads those in one"
        " long transaction (pg_stat_activity says who), or they are ahead of this log, and another one's"
    )
