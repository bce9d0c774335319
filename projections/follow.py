"""The one loop that feeds folds: several views in one pass over the log, whole decisions at a time.

All views of a follower are folded before any is announced, so a reader that is woken by one finds the others at the
same position.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import structlog

from events.base import ORIGIN, EventId, Position
from events.codec import Recorded
from events.log import Log, LogBroken
from projections.stores.snapshots import Snapshots
from projections.view import View

_log = structlog.get_logger()


class Follower:
    def __init__(self, log: Log, views: Sequence[View[Any]], snapshots: Snapshots | None = None) -> None:
        self._log = log
        self._views = tuple(views)
        self._snapshots = snapshots
        self._unchecked: dict[Position, EventId] = {}
        """Events at which snapshots were made that nobody has looked for in the log yet."""

    @property
    def position(self) -> Position:
        return min(view.position for view in self._views)

    @property
    def stale_since(self) -> float | None:
        """Monotonic time since when the log is out of reach; None while the views are live."""
        return self._log.stale_since

    async def catch_up(self) -> None:
        """Restore from snapshots where there are good ones, then fold up to the head as of now."""
        head = await self._log.head()
        await self.restore(head)
        for view in self._views:
            if self._snapshots is not None and view.position > ORIGIN and not await self._is_of_this_log(view):
                _log.warning("snapshot ignored: the log has another event there", position=view.position)
                view.forget()
        self._unchecked = {}
        if head < self.position:
            raise LogBroken(f"the log ends at {head}, before position {self.position} which was seen earlier")
        if head > self.position:
            stream = self._log.follow(self._beginning)
            await self._run(stream, until=head)
        if self._snapshots is not None:
            for view in self._views:
                await self._snapshots.save(view)

    async def restore(self, head: Position | None = None) -> None:
        """Begin with snapshots alone where there are good ones; `head`: None while the log is out of reach."""
        if self._snapshots is not None:
            for view in self._views:
                await self._snapshots.restore(view, head)
            self._unchecked = {view.position: view.event_id for view in self._views if view.position > ORIGIN}

    async def _is_of_this_log(self, view: View[Any]) -> bool:
        there = await self._log.read(Position(view.position - 1), view.position)
        return bool(there) and there[0].meta.id == view.event_id

    async def run(self) -> None:
        """Follow for ever. Ends only by being cancelled or by LogBroken."""
        await self._run(self._log.follow(self._beginning), until=None)

    @property
    def _beginning(self) -> Position:
        """After which event to read on: one that is to be checked is read again."""
        return Position(self.position - 1) if self._unchecked and self.position > ORIGIN else self.position

    def _check(self, batch: tuple[Recorded, ...]) -> None:
        """Raises LogBroken when what was known is of another log: it was lost from this one meanwhile."""
        for recorded in batch:
            known = self._unchecked.pop(recorded.position, recorded.meta.id)
            if known != recorded.meta.id:
                raise LogBroken(
                    f"event {recorded.position} is not the one that was known before the log was reached: it was lost,"
                    " or the log was replaced. What was known is forgotten at the next start"
                )

    async def _run(self, stream: AsyncIterator[tuple[Recorded, ...]], until: Position | None) -> None:
        expected = self._beginning + 1
        async for batch in stream:
            if batch[0].position != expected:
                raise LogBroken(f"expected position {expected}, the log gave {batch[0].position}")
            expected = batch[-1].position + 1
            if self._unchecked:
                self._check(batch)
            for view in self._views:
                view.fold(batch)
            for view in self._views:
                view.announce()
            if until is not None and self.position >= until:
                return
