"""The audit store as a port, its twin in memory, and the loop that keeps a store filled from the log.

Each row is kept exactly once through any crash: rows go in together with the position that they reach, and only on top
of the position that the writer started from. A store that is away delays the trail and nothing else.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import islice
from typing import Protocol, TypeVar

import msgspec
import structlog

from events.base import ORIGIN, Position
from events.codec import Recorded
from events.log import Log, LogBroken, LogUnavailable
from events.log.losses import accepted_losses
from events.signals.refusals import KeptRefusal, Refusals, RefusalsUnavailable
from projections.audit import (
    AuditQuery,
    AuditRow,
    RefusedRow,
    as_in_rows,
    audit_row,
    refused_row,
    wanted,
    wanted_refused,
)

R = TypeVar("R")
_log = structlog.get_logger()
FIRST_PAUSE_S, LAST_PAUSE_S = 0.1, 10.0


class AuditUnavailable(Exception):
    """The store cannot be reached or cannot take rows now. Nothing is known to have been written."""


class ReaderRefused(Exception):
    """There can be no login for readers by this name; the message says why, and what to do."""


class CursorMoved(Exception):
    """The store is not at the position that the writer started from; nothing was written. `actual`: where it is."""

    def __init__(self, expected: Position, actual: Position) -> None:
        super().__init__(f"the audit store is at position {actual}, not at {expected}")
        self.actual = actual


class Compared(msgspec.Struct, frozen=True):
    """The live rows beside the rebuilt ones, up to a position that both reach."""

    until: Position
    lacking: int
    """Rows that the live table does not have."""
    extra: int
    """Rows that no event stands for."""
    other: int
    """Rows that say something else than the log."""
    first: int | None
    """Position of the first difference."""

    @property
    def differences(self) -> int:
        return self.lacking + self.extra + self.other


class AuditStore(Protocol):
    async def position(self) -> Position:
        """The last position that the rows reflect; 0 when there are none. Raises AuditUnavailable."""
        ...

    async def append(self, rows: Sequence[AuditRow], after: Position) -> Position:
        """Adds the rows that follow `after`, and their position, or nothing. Raises AuditUnavailable, CursorMoved."""
        ...

    async def set_aside(self, first: Position) -> None:
        """Keeps the rows from this position on apart: the log has lost what they stand for. Raises AuditUnavailable."""
        ...

    async def lost(self) -> tuple[AuditRow, ...]:
        """The rows that were set aside, the earliest first. Raises AuditUnavailable."""
        ...

    async def page(self, query: AuditQuery) -> tuple[AuditRow, ...]:
        """Rows in the order of their positions. Raises AuditUnavailable."""
        ...

    async def refused_sequence(self) -> int:
        """The last place in the stream of refusals that the rows reflect. Raises AuditUnavailable."""
        ...

    async def append_refused(self, kept: Sequence[KeptRefusal], after: int) -> int:
        """Adds those that it does not have yet, and their place, or nothing. Raises AuditUnavailable, CursorMoved."""
        ...

    async def page_refused(self, query: AuditQuery) -> tuple[RefusedRow, ...]:
        """Refused commands in the order of their numbers. Raises AuditUnavailable."""
        ...

    def rebuilding(self) -> AbstractAsyncContextManager[None]:
        """One rebuild at a time: raises AuditUnavailable while another one is under way."""
        ...

    async def fill_rebuilt(self, events: AsyncIterator[Sequence[Recorded]]) -> None:
        """Rows of all these events beside the live ones, whole or not at all; what an earlier rebuild left is gone.

        Raises AuditUnavailable, and whatever the iterator raises.
        """
        ...

    async def append_rebuilt(self, rows: Sequence[AuditRow]) -> None: ...

    async def compare_rebuilt(self) -> Compared: ...

    async def switch_to_rebuilt(self, reached: Position, tail: Sequence[AuditRow]) -> bool:
        """Makes the rebuilt rows the live ones, in one step. `tail`: what follows `reached`, as far as is known.

        False, and nothing is changed, when the live rows reach further than the tail, or are being read for long.
        """
        ...

    async def drop_rebuilt(self) -> None: ...


class MemoryAuditStore:
    def __init__(self) -> None:
        self._rows: list[AuditRow] = []
        self._lost: list[AuditRow] = []
        self._refused: list[RefusedRow] = []
        self._refused_sequence = 0
        self._rebuilt: list[AuditRow] = []

    async def position(self) -> Position:
        return self._rows[-1].position if self._rows else ORIGIN

    async def append(self, rows: Sequence[AuditRow], after: Position) -> Position:
        at = await self.position()
        if at != after:
            raise CursorMoved(after, at)
        self._rows.extend(rows)
        return await self.position()

    async def set_aside(self, first: Position) -> None:
        self._lost += [row for row in self._rows if row.position >= first]
        self._rows = [row for row in self._rows if row.position < first]

    async def lost(self) -> tuple[AuditRow, ...]:
        return tuple(self._lost)

    async def page(self, query: AuditQuery) -> tuple[AuditRow, ...]:
        return _page(self._rows, wanted(query), query)

    async def refused_sequence(self) -> int:
        return self._refused_sequence

    async def append_refused(self, kept: Sequence[KeptRefusal], after: int) -> int:
        if after != self._refused_sequence:
            raise CursorMoved(Position(after), Position(self._refused_sequence))
        known = {row.id for row in self._refused}
        for each in kept:
            if each.refusal.id not in known:
                known.add(each.refusal.id)
                row = refused_row(each.refusal)
                self._refused.append(msgspec.structs.replace(row, number=len(self._refused) + 1))
        self._refused_sequence = kept[-1].sequence
        return self._refused_sequence

    async def page_refused(self, query: AuditQuery) -> tuple[RefusedRow, ...]:
        return _page(self._refused, wanted_refused(query), query)

    @asynccontextmanager
    async def rebuilding(self) -> AsyncIterator[None]:
        yield

    async def fill_rebuilt(self, events: AsyncIterator[Sequence[Recorded]]) -> None:
        self._rebuilt = [audit_row(each) async for some in events for each in some]

    async def append_rebuilt(self, rows: Sequence[AuditRow]) -> None:
        self._rebuilt.extend(rows)

    async def compare_rebuilt(self) -> Compared:
        until = Position(min(await self.position(), len(self._rebuilt)))
        live = {row.position: row for row in self._rows if row.position <= until}
        rebuilt = {row.position: row for row in self._rebuilt if row.position <= until}
        other = {at for at in live.keys() & rebuilt.keys() if live[at] != rebuilt[at]}
        lacking, extra = rebuilt.keys() - live.keys(), live.keys() - rebuilt.keys()
        return Compared(until, len(lacking), len(extra), len(other), min(lacking | extra | other, default=None))

    async def switch_to_rebuilt(self, reached: Position, tail: Sequence[AuditRow]) -> bool:
        at = await self.position()
        rows = [row for row in tail if row.position <= at]
        if at > reached and (not rows or rows[-1].position != at):
            return False
        self._rows = [*self._rebuilt, *rows]
        return True

    async def drop_rebuilt(self) -> None:
        self._rebuilt = []


def _page(rows: Sequence[R], matches: Callable[[R], bool], query: AuditQuery) -> tuple[R, ...]:
    query = as_in_rows(query)
    if query.newest:
        return tuple(islice((row for row in reversed(rows) if matches(row)), query.limit))[::-1]
    return tuple(islice((row for row in rows if matches(row)), query.limit))


async def follow_into(log: Log, store: AuditStore) -> None:
    """Keeps the store filled, for ever. Ends only by being cancelled, or by LogBroken: a person has to look."""

    async def fill(going: Callable[[], None]) -> None:
        position = await same_history(log, store, await store.position())
        _log.info("audit trail follows the log", position=position)
        async for batch in log.follow(position):
            position = await store.append([audit_row(each) for each in batch], position)
            going()

    await _for_ever(fill)


async def follow_refused_into(refusals: Refusals, store: AuditStore) -> None:
    """The same for refused commands. Ends only by being cancelled."""

    async def fill(going: Callable[[], None]) -> None:
        sequence = await store.refused_sequence()
        async for kept in refusals.follow(sequence):
            if kept:
                sequence = await store.append_refused(kept, sequence)
            elif (there := await store.refused_sequence()) != sequence:
                raise CursorMoved(Position(sequence), Position(there))  # it was emptied
            going()

    await _for_ever(fill)


async def _for_ever(fill: Callable[[Callable[[], None]], Awaitable[None]]) -> None:
    pause_s = FIRST_PAUSE_S

    def going() -> None:
        nonlocal pause_s
        pause_s = FIRST_PAUSE_S

    while True:
        try:
            await fill(going)
        except CursorMoved as moved:
            _log.info("audit trail goes on from where another writer left it", why=str(moved))
            going()
            await asyncio.sleep(pause_s)
        except (AuditUnavailable, LogUnavailable, RefusalsUnavailable) as away:
            _log.error("audit trail is behind until its store is back", why=str(away), retry_in_s=pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, LAST_PAUSE_S)


async def same_history(log: Log, store: AuditStore, position: Position) -> Position:
    """Where to go on from. Rows of events that are lost, and that a person went on without, are set aside before.

    Raises LogBroken when the store has seen what this log does not have, and nobody said so.
    """
    try:
        await check_same_log(log, store, position)
        return position
    except LogBroken:
        loss = await _accepted_loss(log, store, position)
        if loss is None:
            raise
    _log.error("rows of events that the log has lost are kept apart", first=loss, last=position)
    await store.set_aside(loss)
    return await same_history(log, store, Position(loss - 1))


async def _accepted_loss(log: Log, store: AuditStore, position: Position) -> Position | None:
    """The first position of the earliest accepted loss that the rows do not know of."""
    for recorded in await accepted_losses(log):
        if recorded.position <= position:
            before = Position(recorded.position - 1)
            rows = await store.page(AuditQuery(after=before, until_position=recorded.position))
            if not rows or rows[0].event_id != recorded.meta.id:
                return recorded.position
    return None


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
