"""Why something is there, and what happened to a deployment: chains of events with their times and their causes.

A chain leads from the person or the signal that began it to the event that is asked for. Of a replica that is its
assignment, and its own life follows; of an environment what made it point where it points; of a deployment what put it
into its status.
"""

from datetime import datetime
from typing import Any

import msgspec

from events.base import ORIGIN, DeploymentId, EventId, Position, StreamName
from events.codec import Recorded, event_type
from events.log import Log
from ops.blame import blame
from ops.moments import Moment
from ops.names import NAMES, Names, UnknownName, resolve, resolve_deployment
from ops.past import NoSuchPosition, beginning_of
from ops.replay import history, state_at
from projections.causality import CAUSALITY, Causality, How, Link, chain
from projections.deployments import DEPLOYMENTS
from projections.describe import describe, grounds_of
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


class Past(msgspec.Struct):
    """All that the questions need, from one pass over the log."""

    log: Log
    names: Names
    causality: Causality
    first: dict[str, EventId] = {}
    """By aggregate: the first event of its history."""
    last: dict[str, EventId] = {}
    """By entity: the last event of its own history, else the last that names it."""
    ids: dict[Position, EventId] = {}

    def add(self, recorded: Recorded) -> None:
        CAUSALITY.evolve(self.causality, recorded)
        self.ids[recorded.position] = recorded.meta.id
        own, *named = entities(recorded.stream, recorded.event)
        self.first.setdefault(own, recorded.meta.id)
        self.last[own] = recorded.meta.id
        for each in named:
            if each not in self.first:
                self.last[each] = recorded.meta.id

    def cause_of(self, link: Link) -> Position | None:
        cause = self.causality.links.get(link.parent) if link.parent is not None else None
        return None if cause is None else cause.position


async def past_of(log: Log) -> Past:
    past = Past(log, await state_at(log, NAMES), CAUSALITY.initial())
    async for piece in history(log, beginning_of(log), await log.head()):
        for recorded in piece:
            past.add(recorded)
    return past


async def why(log: Log, what: str, *, latest: bool = False) -> Story:
    """The chain of causes of an event (its id or position) or of an entity (its id or name); `latest`: of the last
    thing that happened to the entity instead. Raises UnknownName, NoSuchPosition.
    """
    past = await past_of(log)
    if what.isdecimal():
        if Position(int(what)) not in past.ids:
            first, last = min(past.ids, default=ORIGIN), max(past.ids, default=ORIGIN)
            raise NoSuchPosition(f"the log has positions {first} to {last}, not {what}")
        return await told(past, f"position {what}", past.ids[Position(int(what))])
    if what in past.causality.links:
        return await told(past, what, EventId(what))
    entity = resolve(past.names, what)
    if entity not in past.last:
        raise UnknownName(f"nothing in this history, which begins at {beginning_of(log)}, is about {what!r}")
    if latest:
        return await told(past, entity, past.last[entity])
    event_id, is_replica = await _that_counts(past, entity)
    return await told(past, entity, event_id, with_life=is_replica)


async def _that_counts(past: Past, entity: str) -> tuple[EventId, bool]:
    """The event that says most about the entity, and whether its life belongs to the answer."""
    first = past.causality.links.get(past.first.get(entity, past.last[entity]))
    if entity in past.names.environments.values():
        return await set_by(past, f"environment:{entity}.current") or past.last[entity], False
    if entity in past.names.deployments.values():
        catalogue = await state_at(past.log, DEPLOYMENTS)
        deployment = catalogue.deployments.get(DeploymentId(entity))
        reason = past.ids.get(deployment.reason_position) if deployment is not None else None
        return reason or past.last[entity], False
    if first is not None and first.stream == StreamName("replica", entity):
        return first.event_id, True
    return past.last[entity], False


async def set_by(past: Past, field: str, moment: Moment = None) -> EventId | None:
    (found,) = await blame(past.log, field, moment)
    return None if found.event is None else EventId(found.event.event_id)


async def told(past: Past, about: str, event_id: EventId, *, with_life: bool = False) -> Story:
    """The chain to the event; `with_life`: and what happened to its aggregate from there on."""
    links = list(chain(past.causality, event_id))
    if with_life:
        own, there = links[-1].stream, links[-1].position
        links += [each for each in past.causality.links.values() if each.stream == own and each.position > there]
    steps: list[Step] = []
    for link in links:
        (recorded,) = await past.log.read(Position(link.position - 1), link.position)
        steps.append(_step(recorded, link.how, past.cause_of(link), steps))
    return Story(about, past.names.of.get(about, about), tuple(steps))


async def timeline(log: Log, deployment: str) -> Story:
    """Everything that names the deployment, in order, each with what it followed from. Raises UnknownName."""
    past = await past_of(log)
    deployment_id = resolve_deployment(past.names, deployment)
    steps: list[Step] = []
    async for piece in history(log, beginning_of(log), max(past.ids, default=ORIGIN)):
        for recorded in piece:
            if deployment_id in entities(recorded.stream, recorded.event):
                link = past.causality.links[recorded.meta.id]
                steps.append(_step(recorded, link.how, past.cause_of(link), steps))
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
