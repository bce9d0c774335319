"""The first event after which something that held no longer holds.

An expression is asked after every decision of the stretch, so the answer is the first failure, also of what fails only
for a while. A script is asked only where the stretch is halved: the first failure if it fails for good from there on.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from events.base import DeploymentId, Position
from events.codec import Recorded
from events.log import Log
from ops.names import NAMES, Names, known
from ops.past import start_of
from ops.replay import VIEWS, difference, history, snapshot_at, state_at
from ops.whence import entity_of
from projections.audit import AuditRow, audit_row
from projections.deployments import Catalogue
from projections.diff import Change
from projections.environments import Environments
from projections.fields import MISSING, read, record_of
from projections.fleet import Fleet
from projections.predicate import BadExpression, Predicate, named, parse
from projections.routing import RoutingTable
from projections.view import View

FUNCTIONS = ("model", "deployment", "environment", "replica", "node", "ready")
OFFERED = (*VIEWS, *FUNCTIONS, "position")


class NotFound(ValueError):
    """The stretch has no such event: it does not hold at its beginning, or still holds at its end."""


class Failing(msgspec.Struct, frozen=True):
    position: Position
    """Where it no longer holds: the last event of the decision."""
    events: tuple[AuditRow, ...]
    """The decision's."""
    changes: tuple[Change, ...]
    asked: int
    """How many states were looked at."""


def expression(text: str) -> Predicate:
    """Raises BadExpression."""
    return parse(text, OFFERED)


async def first_failure(log: Log, predicate: Predicate, good: Position, bad: Position) -> Failing:
    """Raises NotFound, BadExpression, UnknownName."""
    names = await state_at(log, NAMES, bad)
    for text in named(predicate, FUNCTIONS):
        await entity_of(log, text, bad)
    states = {name: View(projection) for name, (projection, _) in VIEWS.items()} | {"names": View(NAMES)}
    for view in states.values():
        view.restore(*await start_of(log, view.projection, good))
    asked, decision = 0, list[Recorded]()
    async for piece in history(log, min(view.position for view in states.values()), good):
        for view in states.values():
            view.fold(piece)
    if not _holds(predicate, _scope(states, names, good), good):
        raise NotFound(f"it does not hold at {good} already: give an earlier --good")
    async for piece in history(log, good, bad):
        for recorded in piece:
            for view in states.values():
                view.fold((recorded,))
            decision.append(recorded)
            if recorded.meta.index < recorded.meta.count - 1:
                continue
            asked += 1
            if not _holds(predicate, _scope(states, names, recorded.position), recorded.position):
                return await _failing(log, decision, asked)
            decision = []
    raise NotFound(f"it holds after each of the {asked} decisions up to {bad}: give a later --bad")


def _holds(predicate: Predicate, scope: dict[str, Any], position: Position) -> bool:
    try:
        return predicate.holds(scope)
    except BadExpression as bad:
        hint = "what is not there is None, and so are its fields"
        raise BadExpression(f"at position {position}: {bad} ({hint})") from None


async def _failing(log: Log, decision: list[Recorded], asked: int) -> Failing:
    before = Position(decision[0].position - 1)
    _, position, changes = await difference(log, None, before, decision[-1].position)
    return Failing(position, tuple(map(audit_row, decision)), changes, asked)


def _scope(views: dict[str, View[Any]], later: Names, position: Position) -> dict[str, Any]:
    """`later`: what names stand for that nobody has yet."""
    states = {name: view.state for name, view in views.items()}
    names: Names = states.pop("names")
    return {**states, "position": position, **_lookups(names, later, **states)}


def _lookups(
    names: Names,
    later: Names,
    routing: RoutingTable,
    deployments: Catalogue,
    environments: Environments,
    fleet: Fleet,
    **_: Any,
) -> dict[str, Callable[[str], Any]]:
    views = {"deployments": deployments, "environments": environments, "fleet": fleet}

    def id_of(text: str) -> str:
        return known(names, text) or known(later, text) or text

    def record(kind: str) -> Callable[[str], Any]:
        def look(text: str) -> Any:
            view, path = record_of(kind, id_of(text))
            found = read(views[view], path)
            return None if found is MISSING else found

        return look

    def ready(text: str | None) -> int:
        deployment = None if text is None else routing.deployments.get(DeploymentId(id_of(text)))
        return 0 if deployment is None else len(deployment.replicas)

    return {kind: record(kind) for kind in FUNCTIONS if kind != "ready"} | {"ready": ready}


async def first_failure_of_script(log: Log, script: Path, good: Position, bad: Position) -> Failing:
    """The script gets what `causeway state -o json` prints; its exit code 0 means that it holds. Raises NotFound,
    BadExpression."""
    asked = 0

    async def holds(position: Position) -> bool:
        nonlocal asked
        asked += 1
        found = await snapshot_at(log, None, position)
        body = {"what": "all", "position": found.position, "at": found.at, "state": found.state}
        try:
            child = await asyncio.create_subprocess_exec(
                script.resolve(), str(position), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
            )
        except OSError as error:  # no right to, or neither a program nor a first line that names one
            raise BadExpression(f"{script} cannot be run: {error.strerror}") from error
        await child.communicate(msgspec.json.encode(body))
        return child.returncode == 0

    if not await holds(good):
        raise NotFound(f"it does not hold at {good} already: give an earlier --good")
    if await holds(bad):
        raise NotFound(f"it still holds at {bad}: give a later --bad")
    return await _halved(log, holds, good, bad, lambda: asked)


async def _halved(
    log: Log,
    holds: Callable[[Position], Awaitable[bool]],
    good: Position,
    bad: Position,
    asked: Callable[[], int],
) -> Failing:
    decision = await _decision_at(log, bad)
    while True:
        middle = Position((good + bad) // 2)
        if middle == good:
            return await _failing(log, decision, asked())
        there = await _decision_at(log, middle)
        end = there[-1].position
        if end >= bad:  # All that is left is one decision, or the middle lies in the last one.
            before = Position(there[0].position - 1)
            if before <= good:
                return await _failing(log, decision, asked())
            there = await _decision_at(log, before)
            end = before
        if await holds(end):
            good = end
        else:
            bad, decision = end, there


async def _decision_at(log: Log, position: Position) -> list[Recorded]:
    """The whole decision that the event there belongs to."""
    (one,) = await log.read(Position(position - 1), position)
    first = Position(position - one.meta.index)
    return list(await log.read(Position(first - 1), Position(first + one.meta.count - 1)))
