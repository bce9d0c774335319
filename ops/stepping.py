"""Going through a stretch of history event by event, with what each event changed; forwards, and back again."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from events.base import Position
from events.codec import Recorded
from events.log import Log
from ops.replay import VIEWS, Replay, history, part_in
from ops.watched import Watched, watched
from projections.audit import AuditRow, audit_row
from projections.diff import Change, Tree, diff
from projections.entities import entities


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
    """Folds on one event at a time, and looks only at what was touched."""

    def __init__(self, log: Log, what: str | None) -> None:
        self._replay = Replay(log, what)
        self._entity = what if what is not None and what not in VIEWS else None
        self._trees: dict[str, dict[str, Tree]] = {}
        """What is shown of each view, by its fields."""

    async def begin(self, position: Position) -> None:
        await self._replay.forward(position)
        for name, view in self._replay.views.items():
            self._trees[name] = self._shown(name, view.state)
            view.restore(watched(view.state), view.position, view.event_id)

    def _shown(self, name: str, state: Any) -> dict[str, Tree]:
        tree = VIEWS[name][1](state) if self._entity is None else part_in(name, state, self._entity)
        return {} if tree is None else tree

    def on(self, recorded: Recorded) -> tuple[Change, ...]:
        changes: list[Change] = []
        for name, view in self._replay.views.items():
            view.fold((recorded,))
            before, after = self._look(name, view.state)
            if len(self._replay.views) > 1:
                before, after = {name: before}, {name: after}
            changes += diff(before, after)
        return tuple(changes)

    def _look(self, name: str, state: Any) -> tuple[Tree, Tree]:
        """What was touched: as it was, and as it is. A field that shows more than that is there both times."""
        tree, taken = self._trees[name], dict[str, Any]()
        before = dict[str, Tree]()
        for field in state.__struct_fields__:
            mapping = getattr(state, field)
            shown = tree.pop(field, None)
            if isinstance(mapping, Watched):
                touched, taken[field] = mapping.taken()
                if shown is not None:
                    before[field] = {key: shown.pop(key) for key in touched if key in shown}
                    if shown or self._entity is None:
                        tree[field] = shown
            elif shown is not None:
                before[field] = shown
        now = self._shown(name, msgspec.structs.replace(state, **taken))
        after: Tree = {field: {} for field in tree} | now
        for field, each in now.items():
            if field in taken:
                tree.setdefault(field, {}).update(each)
            else:
                tree[field] = each
        return before, after


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
