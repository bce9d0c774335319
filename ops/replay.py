"""Any state at any moment: the folds that the running plane uses, folded from the log up to there.

A moment that is given as a time means: all that had been decided by then, up to the last event with that time or an
earlier one. It is found by halving, which is exact as long as no clock of the plane is wrong by more than SKEW.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, TypeVar

import msgspec

from events.base import ORIGIN, Position
from events.codec import Recorded
from events.log import Log
from ops.moments import Moment
from ops.names import NAMES
from ops.past import NoSuchPosition, began_at_of, beginning_of, start_of
from projections.base import Projection
from projections.deployments import DEPLOYMENTS, Catalogue, status
from projections.diff import Change, Tree, diff, diff_about, part_about
from projections.environments import ENVIRONMENTS
from projections.fleet import FLEET
from projections.replica_targets import REPLICA_TARGETS
from projections.routing import ROUTING, RoutingTable
from projections.stores.kept import collecting_later
from projections.stores.unread import Unread, read_whole, stored
from projections.view import View
from projections.weights import WEIGHTS

S = TypeVar("S")
_encode = msgspec.msgpack.Encoder(enc_hook=stored).encode
CHUNK = 20_000
"""Events held in memory at a time."""
SKEW = timedelta(seconds=60)
PAUSE_EVERY = 500
WORTH_A_JUMP = 1000
"""Events; a shorter way is folded rather than begun from another kept state."""
AT_ONCE = 256
"""Values that are looked through together for what mentions an entity; nearly all of them do not."""


class Snapshot(msgspec.Struct, frozen=True):
    """A state as plain values, with the place in the history that it reflects."""

    position: Position
    at: datetime | None
    """Time of the event at `position`; None before the first."""
    state: Tree


def _plain(state: Any) -> Tree:
    return msgspec.to_builtins(state, enc_hook=read_whole)


def _table(table: RoutingTable) -> Tree:
    """With its sets in order. Nothing else is sorted: of a large state that would take the longest of all."""
    tree = _plain(table)
    tree["draining"].sort()
    for model in tree["models"].values():
        model["deployments"].sort()
    return tree


def _catalogue(catalogue: Catalogue) -> Tree:
    """With the status that the page and the API show, which is worked out and not kept."""
    tree = _plain(catalogue)
    for plain, deployment in zip(tree["deployments"].values(), catalogue.deployments.values(), strict=True):
        plain["status"] = status(deployment)
    return tree


VIEWS: dict[str, tuple[Projection[Any], Callable[[Any], Tree]]] = {
    "routing": (ROUTING, _table),
    "targets": (REPLICA_TARGETS, _plain),
    "fleet": (FLEET, _plain),
    "deployments": (DEPLOYMENTS, _catalogue),
    "environments": (ENVIRONMENTS, _plain),
}
"""What can be asked for by name: the projection, and how its state is shown."""
LOOKED_BACK_AT: tuple[Projection[Any], ...] = (*(projection for projection, _ in VIEWS.values()), NAMES, WEIGHTS)
"""What the control process keeps snapshots of, all along the log."""


async def history(log: Log, after: Position, until: Position) -> AsyncIterator[tuple[Recorded, ...]]:
    """The events after one position up to another, in pieces."""
    while after < until:
        piece = await log.read(after, Position(min(after + CHUNK, until)))
        if not piece:
            return
        yield piece
        after = piece[-1].position


async def position_of(log: Log, moment: Moment) -> Position:
    """Raises NoSuchPosition for a position that is not there."""
    head = await log.head()
    if moment is None:
        return head
    if not isinstance(moment, datetime):
        if moment > head:
            raise NoSuchPosition(f"the log ends at position {head}, before {moment}")
        if moment < beginning_of(log):
            raise NoSuchPosition(f"the history begins at position {beginning_of(log)}, after {moment}")
        return moment
    found = await _last_by(log, moment, await _first_after(log, moment, head))
    began_at = began_at_of(log)
    if found == beginning_of(log) and began_at is not None and moment < began_at:
        raise NoSuchPosition(f"the history begins at position {found}, at {began_at}, after {moment}")
    return found


async def _first_after(log: Log, time: datetime, head: Position) -> Position:
    """A position from which on all is later than `time`, whatever the clocks."""
    early, late = beginning_of(log), Position(head + 1)
    while late - early > 1:
        middle = Position((early + late) // 2)
        (recorded,) = await log.read(Position(middle - 1), middle)
        if recorded.meta.at - 2 * SKEW > time:
            late = middle
        else:
            early = middle
    return late


async def _last_by(log: Log, time: datetime, before: Position) -> Position:
    until, size = Position(before - 1), 256
    while until > beginning_of(log):
        after = Position(max(until - size, beginning_of(log)))
        for recorded in reversed(await log.read(after, until)):
            if recorded.meta.at <= time:
                return recorded.position
        until, size = after, min(size * 4, CHUNK)
    return until


async def state_at(log: Log, projection: Projection[S], moment: Moment = None) -> S:
    """The state of one projection. Raises NoSuchPosition."""
    position = await position_of(log, moment)
    state, reached = await start_of(log, projection, position)
    async for piece in history(log, reached, position):
        for recorded in piece:
            state = projection.evolve(state, recorded)
    return state


async def states_at(log: Log, projections: Sequence[Projection[Any]], position: Position) -> tuple[Any, ...]:
    """The states of several folds there, from one pass. Raises NoSuchPosition.

    Who else is served by this process waits for PAUSE_EVERY events at most.
    """
    views = [View(each) for each in projections]
    for view in views:
        view.restore(*await start_of(log, view.projection, position))
    async for piece in history(log, min(view.position for view in views), position):
        for begin in range(0, len(piece), PAUSE_EVERY):
            for view in views:
                view.fold(piece[begin : begin + PAUSE_EVERY])
            await asyncio.sleep(0)
    return tuple(view.state for view in views)


class Replay:
    """Several folds that go forward through the log together: `views` by their names."""

    def __init__(self, log: Log, what: str | None) -> None:
        """`what`: one of VIEWS, the id of an entity (its part of every view), or None for all."""
        self._log = log
        self._entity = what if what is not None and what not in VIEWS else None
        self.views = {name: View(VIEWS[name][0]) for name in ((what,) if what in VIEWS else tuple(VIEWS))}

    async def to(self, position: Position) -> Snapshot:
        """The state there. Positions may be asked for in rising order only."""
        with collecting_later():
            await self.forward(position)
            there = await self._log.read(Position(position - 1), position) if position > ORIGIN else ()
            return Snapshot(position, there[0].meta.at if there else began_at_of(self._log), self._tree())

    async def forward(self, position: Position) -> None:
        """As `to`, without showing the state."""
        views = self.views.values()
        here = max(view.position for view in views)
        if position < here:
            raise ValueError(f"a replay goes forward: it is at {here}, past {position}")
        with collecting_later():
            if position - here > WORTH_A_JUMP or here <= beginning_of(self._log):
                await self._jump(position)
            async for piece in history(self._log, min(view.position for view in views), position):
                for view in views:
                    view.fold(piece)

    async def _jump(self, position: Position) -> None:
        async def jump(view: View[Any]) -> None:
            state, start = await start_of(self._log, view.projection, position, in_part=self._entity is not None)
            if start > view.position:
                view.restore(state, start)

        await asyncio.gather(*map(jump, self.views.values()))

    def _tree(self) -> Tree:
        if self._entity is not None:
            parts = {name: part_in(name, view.state, self._entity) for name, view in self.views.items()}
            return {name: part for name, part in parts.items() if part is not None}
        trees = {name: VIEWS[name][1](view.state) for name, view in self.views.items()}
        return trees if len(trees) > 1 else next(iter(trees.values()))


def within(name: str, changes: Iterable[Change]) -> Iterator[Change]:
    """Of a view, among those of others."""
    return (msgspec.structs.replace(each, path=(name, *each.path)) for each in changes)


def part_in(name: str, state: Any, entity: str) -> Tree | None:
    """What one view says of an entity. Only what mentions it is made plain: the whole may be large."""
    return part_about(shown_only(name, state, mentioned(state, entity)), entity)


Keys = dict[Any, Any]
"""Names of values of a mapping: each with None for all of it, or with names of values in it."""


def shown_only(name: str, state: Any, keys: Mapping[str, Keys]) -> Tree:
    """The view with these values of its mappings."""
    few = {field: _only(getattr(state, field), keys[field]) for field in keys}
    return VIEWS[name][1](msgspec.structs.replace(state, **few))


def _only(values: Any, keys: Keys) -> dict[Any, Any]:
    there = [(name, within) for name, within in keys.items() if name in values]
    return {name: values[name] if within is None else _only(values[name], within) for name, within in there}


def mentioned(state: Any, entity: str) -> dict[str, Keys]:
    """In each of its mappings: under which names something may be about the entity; hardly ever one too many."""
    text = entity.partition("-")[0].encode()
    mappings = {field: getattr(state, field) for field in state.__struct_fields__}
    return {field: _mentioning(each, text) for field, each in mappings.items() if isinstance(each, dict | Unread)}


def _mentioning(values: Mapping[Any, Any], text: bytes) -> Keys:
    """Of a mapping of mappings, one of which may be very large, what is within as well."""
    found: Keys = {}
    for name in _names_mentioning(values, text):
        each = values[name]
        found[name] = _mentioning(each, text) if isinstance(each, dict | Unread) and text not in _encode(name) else None
    return found


def _either(one: Keys | None, other: Keys | None) -> Keys | None:
    if one is None or other is None:
        return None
    return one | other | {name: _either(one[name], other[name]) for name in one.keys() & other.keys()}


def _names_mentioning(values: Mapping[Any, Any], text: bytes) -> Iterator[Any]:
    """Of the values that do, or whose own name does."""
    every = iter((values.kept if isinstance(values, Unread) else values).items())
    while several := list(islice(every, AT_ONCE)):
        if text in _encode(several):
            yield from [name for name, each in several if text in _encode((name, each))]


async def snapshot_at(log: Log, what: str | None, moment: Moment = None) -> Snapshot:
    """Raises NoSuchPosition."""
    return await Replay(log, what).to(await position_of(log, moment))


async def difference(
    log: Log, what: str | None, first: Moment, second: Moment
) -> tuple[Position, Position, tuple[Change, ...]]:
    """What changed from the one moment to the other, in either direction of time. Raises NoSuchPosition."""
    a, b = await position_of(log, first), await position_of(log, second)
    if what is not None and what not in VIEWS:
        return a, b, await _difference_about(log, what, a, b)
    replay = Replay(log, what)
    earlier = (await replay.to(min(a, b))).state
    later = (await replay.to(max(a, b))).state
    return a, b, diff(earlier, later) if a <= b else diff(later, earlier)


async def _difference_about(log: Log, entity: str, a: Position, b: Position) -> tuple[Change, ...]:
    one, other = Replay(log, entity), Replay(log, entity)
    changes: list[Change] = []
    with collecting_later():
        await one.forward(a)
        await other.forward(b)
        for name, view in one.views.items():
            states = (view.state, other.views[name].state)
            keys = _either(*(mentioned(each, entity) for each in states)) or {}
            before, after = (shown_only(name, each, keys) for each in states)
            changes += within(name, diff_about(before, after, entity))
    return tuple(changes)
