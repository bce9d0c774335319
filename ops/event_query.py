"""Events straight from the log by the same query, and in the same rows, as the audit trail."""

from collections.abc import AsyncIterator

from events.base import ORIGIN, Position
from events.log import Log
from ops.replay import CHUNK, history
from projections.audit import AuditQuery, AuditRow, audit_row, wanted


async def select(log: Log, query: AuditQuery) -> tuple[AuditRow, ...]:
    """One page; reads no more of the log than it needs."""
    head = await log.head()
    until = head if query.until_position is None else min(head, query.until_position)
    return await (_last(log, query, until) if query.newest else _first(log, query, until))


async def _first(log: Log, query: AuditQuery, until: Position) -> tuple[AuditRow, ...]:
    matches, rows = wanted(query), list[AuditRow]()
    async for piece in history(log, query.after, until):
        rows += filter(matches, map(audit_row, piece))
        if len(rows) >= query.limit:
            break
    return tuple(rows[: query.limit])


async def _last(log: Log, query: AuditQuery, until: Position) -> tuple[AuditRow, ...]:
    matches, rows = wanted(query), list[AuditRow]()
    floor, size = max(query.after, ORIGIN), query.limit
    while until > floor and len(rows) < query.limit:
        after = Position(max(until - size, floor))
        rows += filter(matches, map(audit_row, reversed(await log.read(after, until))))
        until, size = after, min(size * 4, CHUNK)
    return tuple(rows[: query.limit])[::-1]


async def follow(log: Log, query: AuditQuery, after: Position) -> AsyncIterator[AuditRow]:
    """What matches after a position, for ever."""
    matches = wanted(query)
    async for batch in log.follow(after):
        for recorded in batch:
            row = audit_row(recorded)
            if matches(row):
                yield row
