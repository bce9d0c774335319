"""Going through a stretch of history event by event, with what each event changed; forwards, and back again."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from events.base import Position
from events.codec import Recorded
from events.log import Log
from ops.replay import VIEWS, Replay, history, part_in
from projections.audit import AuditRow, audit_row
from projections.diff import Change, Tree, diff
from projections.entities import entities
from projections.stores.unread import stored


class Stepped(msgspec.Struct, frozen=True):
    """An event with the difference between the states before it and after it."""

    event: AuditRow
    changes: tuple[Change, ...]


async def steps(log: Log, what: str | None, after: Position, until: Position) -> AsyncIterator[Stepped]:
    """The events of a stretch: all, or those that concern or change `what` (a view, or an entity's id)."""
    walk = Walk(log, what)
    await walk.begin(after)
    async for piece in history(log, after, until):
        for recorded in piece:
            changes = walk.on(recorded)
            if changes or what is None or what in entities(recorded.stream, recorded.event):
                yield Stepped(audit_row(recorded), changes)


class Walk:
    """Folds on one event at a time. A view that an event leaves as it was is not looked through again."""

    def __init__(self, log: Log, what: str | None) -> None:
        self._replay = Replay(log, what)
        self._entity = what if what is not None and what not in VIEWS else None
        self._encoded: dict[str, bytes] = {}
        self._trees: dict[str, Tree] = {}

    async def begin(self, position: Position) -> None:
        await self._replay.to(position)
        for name in self._replay.views:
            self._look(name)

    def _look(self, name: str) -> bool:
        """Whether it has changed since the last look."""
        state: Any = self._replay.views[name].state
        encoded = msgspec.msgpack.encode(state, enc_hook=stored)
        if self._encoded.get(name) == encoded:
            return False
        self._encoded[name] = encoded
        self._trees[name] = VIEWS[name][1](state) if self._entity is None else part_in(name, state, self._entity) or {}
        return True

    def on(self, recorded: Recorded) -> tuple[Change, ...]:
        changes: list[Change] = []
        for name, view in self._replay.views.items():
            before = self._trees[name]
            view.fold((recorded,))
            if self._look(name):
                changes += self._difference(name, before, self._trees[name])
        return tuple(changes)

    def _difference(self, name: str, before: Tree, after: Tree) -> tuple[Change, ...]:
        if len(self._replay.views) > 1:
            return diff({name: before}, {name: after})
        return diff(before, after)


class Walked:
    """Steps that have been taken are kept, so that one can go back."""

    def __init__(self, ahead: AsyncIterator[Stepped]) -> None:
        self._ahead = ahead
        self._taken: list[Stepped] = []
        self.number = 0
        """Of the step that is shown, from 1."""

    async def next(self) -> Stepped | None:
        """None at the end of the stretch, where one stays."""
        if self.number == len(self._taken):
            step = await anext(self._ahead, None)
            if step is None:
                return None
            self._taken.append(step)
        self.number += 1
        return self._taken[self.number - 1]

    def previous(self) -> Stepped | None:
        """None at its beginning, where one stays."""
        if self.number <= 1:
            return None
        self.number -= 1
        return self._taken[self.number - 1]
