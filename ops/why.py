"""Why something is as it is, and what happened to a deployment: chains of events with their times and their causes."""

from datetime import datetime
from typing import Any

import msgspec

from events.base import ORIGIN, DeploymentId, EventId, Position
from events.codec import Recorded, event_type
from events.log import Log
from ops.describe import describe, grounds_of
from ops.names import NAMES, Names, resolve, resolve_deployment
from ops.past import NoSuchPosition
from ops.replay import history
from projections.causality import CAUSALITY, Causality, How, chain
from projections.deployments import DEPLOYMENTS, Catalogue
from projections.entities import entities


class Step(msgspec.Struct, frozen=True):
    """One event of a chain or of a timeline."""

    position: Position
    at: datetime
    type: str
    category: str
    entity: str
    summary: str
    actor: str
    actor_how: str
    how: How
    cause: Position | None
    """Where the event stands that this one followed from."""
    seconds: float
    """Since the step before."""
    since_start_s: float
    event_id: str
    grounds: dict[str, Any]


class Story(msgspec.Struct, frozen=True):
    """The steps with what they are about; `label`: the name that people gave it."""

    about: str
    label: str
    steps: tuple[Step, ...]


class _Past(msgspec.Struct):
    """All that the questions need, from one pass over the log."""

    causality: Causality
    names: Names
    catalogue: Catalogue
    last: dict[str, EventId] = {}
    """By entity: the last event of its own history, else the last that names it."""
    own: set[str] = set()
    ids: list[EventId] = []
    """Of position n at n - 1."""

    def add(self, recorded: Recorded) -> None:
        CAUSALITY.evolve(self.causality, recorded)
        NAMES.evolve(self.names, recorded)
        DEPLOYMENTS.evolve(self.catalogue, recorded)
        self.ids.append(recorded.meta.id)
        own, *named = entities(recorded.stream, recorded.event)
        self.own.add(own)
        self.last[own] = recorded.meta.id
        for each in named:
            if each not in self.own:
                self.last[each] = recorded.meta.id


async def _past(log: Log) -> _Past:
    past = _Past(CAUSALITY.initial(), NAMES.initial(), DEPLOYMENTS.initial())
    async for piece in history(log, ORIGIN, await log.head()):
        for recorded in piece:
            past.add(recorded)
    return past


async def why(log: Log, what: str) -> Story:
    """The chain of causes of an event (its id or position) or of an entity's present state (its id or name).

    Raises UnknownName, NoSuchPosition.
    """
    past = await _past(log)
    about, event_id = _event_asked_for(past, what)
    links = chain(past.causality, event_id)
    steps: list[Step] = []
    for link in links:
        (recorded,) = await log.read(Position(link.position - 1), link.position)
        cause = past.causality.links[link.parent].position if link.parent in past.causality.links else None
        steps.append(_step(recorded, link.how, cause, steps))
    return Story(about, past.names.of.get(about, about), tuple(steps))


def _event_asked_for(past: _Past, what: str) -> tuple[str, EventId]:
    if what.isdecimal():
        if not 1 <= int(what) <= len(past.ids):
            raise NoSuchPosition(f"the log has positions 1 to {len(past.ids)}, not {what}")
        return f"position {what}", past.ids[int(what) - 1]
    if what in past.causality.links:
        return what, EventId(what)
    entity = resolve(past.names, what)
    deployment = past.catalogue.deployments.get(DeploymentId(entity))
    if deployment is not None:
        return entity, past.ids[deployment.reason_position - 1]
    return entity, past.last[entity]


async def timeline(log: Log, deployment: str) -> Story:
    """Everything that names the deployment, in order, each with what it followed from. Raises UnknownName."""
    past = await _past(log)
    deployment_id = resolve_deployment(past.names, deployment)
    steps: list[Step] = []
    async for piece in history(log, ORIGIN, Position(len(past.ids))):
        for recorded in piece:
            if deployment_id in entities(recorded.stream, recorded.event):
                link = past.causality.links[recorded.meta.id]
                cause = past.causality.links[link.parent].position if link.parent in past.causality.links else None
                steps.append(_step(recorded, link.how, cause, steps))
    return Story(deployment_id, past.names.of[deployment_id], tuple(steps))


def _step(recorded: Recorded, how: How, cause: Position | None, before: list[Step]) -> Step:
    meta = recorded.meta
    first_at = before[0].at if before else meta.at
    last_at = before[-1].at if before else meta.at
    return Step(
        position=recorded.position,
        at=meta.at,
        type=event_type(recorded.event),
        category=recorded.stream.category,
        entity=recorded.stream.id,
        summary=describe(recorded.event),
        actor=meta.actor.name,
        actor_how=meta.actor.how,
        how=how,
        cause=cause,
        seconds=(meta.at - last_at).total_seconds(),
        since_start_s=(meta.at - first_at).total_seconds(),
        event_id=meta.id,
        grounds=grounds_of(recorded.event),
    )
