"""Any state at any moment: the folds that the running plane uses, folded from the log up to there.

A moment that is given as a time means: all that had been decided by then, up to the last event with that time or an
earlier one.
"""

from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from events.base import ORIGIN, Position
from events.codec import Recorded
from events.log import Log
from ops.diff import Change, Tree, diff, part_of
from ops.moments import Moment
from projections.base import Projection
from projections.deployments import DEPLOYMENTS, Catalogue, status
from projections.environments import ENVIRONMENTS
from projections.fleet import FLEET
from projections.replica_targets import REPLICA_TARGETS
from projections.routing import ROUTING

S = TypeVar("S")
CHUNK = 20_000
"""Events held in memory at a time."""


class NoSuchPosition(LookupError):
    """The moment lies outside the log."""


class Snapshot(msgspec.Struct, frozen=True):
    """A state as plain values, with the place in the history that it reflects."""

    position: Position
    at: datetime | None
    """Time of the event at `position`; None before the first."""
    state: Tree


def _plain(state: Any) -> Tree:
    return msgspec.to_builtins(state, order="deterministic")


def _catalogue(catalogue: Catalogue) -> Tree:
    """With the status that the page and the API show, which is worked out and not kept."""
    tree = _plain(catalogue)
    for deployment_id, deployment in catalogue.deployments.items():
        tree["deployments"][deployment_id]["status"] = status(deployment)
    return tree


VIEWS: dict[str, tuple[Projection[Any], Callable[[Any], Tree]]] = {
    "routing": (ROUTING, _plain),
    "targets": (REPLICA_TARGETS, _plain),
    "fleet": (FLEET, _plain),
    "deployments": (DEPLOYMENTS, _catalogue),
    "environments": (ENVIRONMENTS, _plain),
}
"""What can be asked for by name: the projection, and how its state is shown."""


async def history(log: Log, after: Position, until: Position) -> AsyncIterator[tuple[Recorded, ...]]:
    """The events after one position up to another, in pieces."""
    while after < until:
        piece = await log.read(after, Position(min(after + CHUNK, until)))
        if not piece:
            return
        yield piece
        after = piece[-1].position


async def position_of(log: Log, moment: Moment) -> Position:
    """Raises NoSuchPosition for a position that is not there yet."""
    head = await log.head()
    if moment is None:
        return head
    if not isinstance(moment, datetime):
        if moment > head:
            raise NoSuchPosition(f"the log ends at position {head}, before {moment}")
        return moment
    until = head
    while until > ORIGIN:
        after = Position(max(until - CHUNK, ORIGIN))
        for recorded in reversed(await log.read(after, until)):
            if recorded.meta.at <= moment:
                return recorded.position
        until = after
    return ORIGIN


async def state_at(log: Log, projection: Projection[S], moment: Moment = None) -> S:
    """The state of one projection. Raises NoSuchPosition."""
    state = projection.initial()
    async for piece in history(log, ORIGIN, await position_of(log, moment)):
        for recorded in piece:
            state = projection.evolve(state, recorded)
    return state


class Replay:
    """Several folds that go forward through the log together."""

    def __init__(self, log: Log, what: str | None) -> None:
        """`what`: one of VIEWS, the id of an entity (its part of every view), or None for all."""
        self._log = log
        self._entity = what if what is not None and what not in VIEWS else None
        self._names = (what,) if what in VIEWS else tuple(VIEWS)
        self._states = {name: VIEWS[name][0].initial() for name in self._names}
        self._position = ORIGIN
        self._at: datetime | None = None

    async def to(self, position: Position) -> Snapshot:
        """The state there. Positions may be asked for in rising order only."""
        if position < self._position:
            raise ValueError(f"a replay goes forward: it is at {self._position}, past {position}")
        async for piece in history(self._log, self._position, position):
            for name in self._names:
                state, evolve = self._states[name], VIEWS[name][0].evolve
                for recorded in piece:
                    state = evolve(state, recorded)
                self._states[name] = state
            self._position, self._at = piece[-1].position, piece[-1].meta.at
        return Snapshot(self._position, self._at, self._tree())

    def _tree(self) -> Tree:
        trees = {name: VIEWS[name][1](self._states[name]) for name in self._names}
        if self._entity is not None:
            return part_of(trees, self._entity) or {}
        return trees if len(trees) > 1 else trees[self._names[0]]


async def snapshot_at(log: Log, what: str | None, moment: Moment = None) -> Snapshot:
    """Raises NoSuchPosition."""
    return await Replay(log, what).to(await position_of(log, moment))


async def difference(
    log: Log, what: str | None, first: Moment, second: Moment
) -> tuple[Position, Position, tuple[Change, ...]]:
    """What changed from the one moment to the other, in either direction of time. Raises NoSuchPosition."""
    a, b = await position_of(log, first), await position_of(log, second)
    replay = Replay(log, what)
    earlier = (await replay.to(min(a, b))).state
    later = (await replay.to(max(a, b))).state
    return a, b, diff(earlier, later) if a <= b else diff(later, earlier)
