"""Why something is there, and what happened to a deployment: chains of events with their times and their causes.

A chain leads from the person or the signal that began it to the event that is asked for. Of a replica that is its
assignment, and its own life follows; of an environment what made it point where it points; of a deployment what put it
into its status; of a model its registration. Of what was deleted: what deleted it.
"""

from datetime import datetime
from typing import Any

import msgspec

from events.base import ORIGIN, DeploymentId, Position, StreamName
from events.codec import Recorded, event_type
from events.log import Log
from ops.blame import blame
from ops.moments import Moment
from ops.names import UnknownName, kind_of, known, resolve, resolve_deployment
from ops.past import NoSuchPosition, beginning_of
from ops.replay import state_at
from ops.whence import Whence, whence_of
from projections.causality import How, Link
from projections.deployments import DEPLOYMENTS
from projections.describe import describe, grounds_of


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


async def why(log: Log, what: str, *, latest: bool = False) -> Story:
    """The chain of causes of an event (its id or position) or of an entity (its id or name); `latest`: of the last
    thing that happened to the entity instead. Raises UnknownName, NoSuchPosition.
    """
    whence = await whence_of(log)
    if what.isdecimal():
        first = Position(min(beginning_of(log) + 1, whence.head))
        if not first <= int(what) <= whence.head or int(what) == ORIGIN:
            raise NoSuchPosition(f"the log has positions {first} to {whence.head}, not {what}")
        return await told(whence, f"position {what}", await whence.at(Position(int(what))))
    event = await whence.event(what)
    if event is not None:
        return await told(whence, what, event)
    entity = await whence.entity(what) or resolve(whence.names, what)
    last = await whence.last(entity)
    if last is None:
        raise UnknownName(f"nothing in this history, which begins at {beginning_of(log)}, is about {what!r}")
    if latest:
        return await told(whence, entity, last)
    counts, is_replica = await _that_counts(whence, entity, last)
    return await told(whence, entity, counts, with_life=is_replica)


async def _that_counts(whence: Whence, entity: str, last: Recorded) -> tuple[Recorded, bool]:
    """The event that says most about the entity, and whether its life belongs to the answer."""
    kind = kind_of(whence.names, entity)
    if kind == "model":
        return await set_by(whence, f"model:{entity}.model_id") or last, False
    if kind == "environment":
        return await set_by(whence, f"environment:{entity}.current") or last, False
    if kind == "deployment":
        catalogue = await state_at(whence.log, DEPLOYMENTS, whence.head)
        deployment = catalogue.deployments.get(DeploymentId(entity))
        if deployment is None:
            return await set_by(whence, f"deployment:{entity}.status") or last, False
        if not beginning_of(whence.log) < deployment.reason_position <= whence.head:
            return last, False
        return await whence.at(deployment.reason_position), False
    first = await whence.first(entity) or last
    if first.stream == StreamName("replica", entity):
        return first, True
    return last, False


async def set_by(whence: Whence, field: str, moment: Moment = None) -> Recorded | None:
    (found,) = await blame(whence.log, field, moment, whence)
    return None if found.event is None else await whence.at(found.event.position)


async def told(whence: Whence, about: str, event: Recorded, *, with_life: bool = False) -> Story:
    """The chain to the event; `with_life`: and what happened to its aggregate from there on."""
    links = await whence.chain(event)
    if with_life:
        links += [(each, await whence.link(each)) for each in await whence.life_after(event)]
    return Story(about, whence.names.of.get(about, about), await _steps(whence, links))


async def timeline(log: Log, deployment: str) -> Story:
    """Everything that names the deployment, in order, each with what it followed from. Raises UnknownName."""
    whence = await whence_of(log)
    found = known(whence.names, deployment)
    is_one = found is not None and kind_of(whence.names, found) == "deployment"
    deployment_id = found if is_one and found is not None else resolve_deployment(whence.names, deployment)
    links = [(each, await whence.link(each)) for each in await whence.about(deployment_id)]
    return Story(deployment_id, whence.names.of[deployment_id], await _steps(whence, links))


async def _steps(whence: Whence, links: list[tuple[Recorded, Link]]) -> tuple[Step, ...]:
    steps: list[Step] = []
    for recorded, link in links:
        steps.append(_step(recorded, link.how, await whence.cause_of(link), steps))
    return tuple(steps)


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
