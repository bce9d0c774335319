"""Going through a stretch of history event by event, with what each event changed; forwards, and back again."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import msgspec

from events.base import Position
from events.codec import Recorded
from events.log import Log
from ops.replay import VIEWS, Replay, history, within
from ops.watched import Watched
from projections.audit import AuditRow, audit_row
from projections.diff import Change, Tree, diff, diff_about
from projections.entities import entities
from projections.stores.unread import Unread


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
    """Folds on one event at a time, and looks only at what it was handed."""

    def __init__(self, log: Log, what: str | None) -> None:
        self._replay = Replay(log, what)
        self._entity = what if what is not None and what not in VIEWS else None
        self._rest: dict[str, Tree] = {}
        """What is shown of each view beside its mappings."""

    async def begin(self, position: Position) -> None:
        await self._replay.forward(position)
        for name, view in self._replay.views.items():
            state = view.state
            fields = {field: getattr(state, field) for field in state.__struct_fields__}
            mappings = {field: each for field, each in fields.items() if isinstance(each, dict | Unread)}
            blank = msgspec.structs.replace(state, **{field: {} for field in mappings})
            self._rest[name] = {field: each for field, each in VIEWS[name][1](blank).items() if field not in mappings}
            watched = {field: Watched(each, partial(_shown, name, blank, field)) for field, each in mappings.items()}
            view.restore(msgspec.structs.replace(state, **watched), view.position, view.event_id)

    def on(self, recorded: Recorded) -> tuple[Change, ...]:
        changes: list[Change] = []
        for name, view in self._replay.views.items():
            view.fold((recorded,))
            before, after = self._look(name, view.state)
            found = diff(before, after) if self._entity is None else diff_about(before, after, self._entity)
            changes += within(name, found) if len(self._replay.views) > 1 else found
        return tuple(changes)

    def _look(self, name: str, state: Any) -> tuple[Tree, Tree]:
        """What the last event was handed: as it was, and as it is."""
        mappings = {
            field: each for field in state.__struct_fields__ if isinstance(each := getattr(state, field), Watched)
        }
        taken = {field: each.taken() for field, each in mappings.items()}
        after = VIEWS[name][1](msgspec.structs.replace(state, **{field: now for field, (_, now) in taken.items()}))
        before = self._rest[name] | {field: was for field, (was, _) in taken.items()}
        self._rest[name] = {field: each for field, each in after.items() if field not in taken}
        return before, after


def _shown(name: str, blank: Any, field: str, few: dict[Any, Any]) -> dict[Any, Tree]:
    shown: dict[Any, Tree] = VIEWS[name][1](msgspec.structs.replace(blank, **{field: few}))[field]
    return shown


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
