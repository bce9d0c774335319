"""The audit store as a port, its twin in memory, and the loop that keeps a store filled from the log.

Each row is kept exactly once through any crash: rows go in together with the position that they reach, and only on top
of the position that the writer started from. A store that is away delays the trail and nothing else.
"""

import asyncio
from collections.abc import Sequence
from itertools import islice
from typing import Protocol

import structlog

from events.base import ORIGIN, Position
from events.log import Log, LogBroken, LogUnavailable
from projections.audit import AuditQuery, AuditRow, audit_row, wanted

_log = structlog.get_logger()
FIRST_PAUSE_S, LAST_PAUSE_S = 0.1, 10.0


class AuditUnavailable(Exception):
    """The store cannot be reached or cannot take rows now. Nothing is known to have been written."""


class CursorMoved(Exception):
    """The store is not at the position that the writer started from; nothing was written. `actual`: where it is."""

    def __init__(self, expected: Position, actual: Position) -> None:
        super().__init__(f"the audit store is at position {actual}, not at {expected}")
        self.actual = actual


class AuditStore(Protocol):
    async def position(self) -> Position:
        """The last position that the rows reflect; 0 when there are none. Raises AuditUnavailable."""
        ...

    async def append(self, rows: Sequence[AuditRow], after: Position) -> Position:
        """Adds the rows that follow `after`, and their position, or nothing. Raises AuditUnavailable, CursorMoved."""
        ...

    async def page(self, query: AuditQuery) -> tuple[AuditRow, ...]:
        """Rows in the order of their positions. Raises AuditUnavailable."""
        ...


class MemoryAuditStore:
    def __init__(self) -> None:
        self._rows: list[AuditRow] = []

    async def position(self) -> Position:
        return self._rows[-1].position if self._rows else ORIGIN

    async def append(self, rows: Sequence[AuditRow], after: Position) -> Position:
        at = await self.position()
        if at != after:
            raise CursorMoved(after, at)
        self._rows.extend(rows)
        return await self.position()

    async def page(self, query: AuditQuery) -> tuple[AuditRow, ...]:
        matches = wanted(query)
        if query.newest:
            return tuple(islice((row for row in reversed(self._rows) if matches(row)), query.limit))[::-1]
        return tuple(islice((row for row in self._rows if matches(row)), query.limit))


async def follow_into(log: Log, store: AuditStore) -> None:
    """Keeps the store filled, for ever. Ends only by being cancelled, or by LogBroken: a person has to look."""
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            position = await store.position()
            await check_same_log(log, store, position)
            _log.info("audit trail follows the log", position=position)
            async for batch in log.follow(position):
                position = await store.append([audit_row(each) for each in batch], position)
                pause_s = FIRST_PAUSE_S
        except CursorMoved as moved:
            _log.info("audit trail goes on from where another writer left it", why=str(moved))
            pause_s = FIRST_PAUSE_S
            await asyncio.sleep(pause_s)
        except (AuditUnavailable, LogUnavailable) as away:
            _log.error("audit trail is behind until its store is back", why=str(away), retry_in_s=pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, LAST_PAUSE_S)


async def check_same_log(log: Log, store: AuditStore, position: Position) -> None:
    """Raises LogBroken when the store has seen what this log does not have."""
    if position == ORIGIN:
        return
    head = await log.head()
    if position > head:
        raise LogBroken(
            f"the audit trail reaches position {position}, but the log ends at {head}: events are missing from the log,"
            " or the audit store belongs to another one. Restore the log, or set CAUSEWAY_POSTGRES_URL to its own store"
        )
    before = Position(position - 1)
    rows = await store.page(AuditQuery(after=before, until_position=position))
    recorded = await log.read(before, position)
    if not rows or not recorded or rows[0].event_id != recorded[0].meta.id:
        raise LogBroken(
            f"event {position} of the log is not the one that the audit trail has seen there: the log was replaced,"
            " or the audit store belongs to another one. Restore the log, or set CAUSEWAY_POSTGRES_URL to its own store"
        )
