"""Why a request was answered by the replica that answered it: the routing table at its position, and what made it so.

The request is known from the sampled access log, or from the headers of its answer.
"""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import msgspec

from events.base import DeploymentId, Position
from events.log import Log
from gateway.insight.access_log import Line
from ops.names import NAMES, UnknownName, resolve_deployment
from ops.past import beginning_of
from ops.replay import position_of, state_at
from ops.whence import whence_of
from ops.why import Story, set_by, told
from projections.deployments import DEPLOYMENTS, status
from projections.routing import ROUTING


class Unexplained(LookupError):
    """The request is not known well enough."""


class Asked(msgspec.Struct, frozen=True):
    """What is known of the request."""

    request_id: str
    position: Position | None = None
    deployment_id: str | None = None
    """Id or name."""
    replica_id: str | None = None
    at: datetime | None = None
    model_id: str | None = None
    target: str | None = None
    """As the caller addressed it: `environment production`."""
    status: int | None = None
    seconds: float | None = None
    parked_s: float = 0.0
    attempts: int | None = None
    source: str = "headers"


class Explanation(msgspec.Struct, frozen=True):
    request: Asked
    position: Position
    said: tuple[str, ...]
    """What the state at that position says, one sentence each."""
    route: Story | None
    """What made the environment point to the deployment."""
    replica: Story | None
    """What made the replica be there, up to that position."""


def line_in(files: Iterable[Path], request_id: str) -> Line | None:
    """The request's line of the access log: of several attempts to write it the newest."""
    wanted, found = request_id.encode(), None
    for file in files:
        with file.open("rb") as lines:
            for line in lines:
                if wanted in line:
                    try:
                        read = msgspec.json.decode(line, type=Line)
                    except msgspec.MsgspecError:
                        continue  # the end of a line that a full disk cut
                    found = read if read.request_id == request_id else found
    return found


def asked_in(line: Line) -> Asked:
    return Asked(
        line.request_id,
        line.position or None,
        line.deployment_id,
        line.replica_id,
        line.at,
        line.model_id,
        line.target,
        line.status,
        line.seconds,
        line.parked_s,
        line.attempts,
        "access log",
    )


async def explain(log: Log, asked: Asked) -> Explanation:
    """Raises Unexplained, UnknownName, NoSuchPosition."""
    if asked.position is None and asked.at is None:
        raise Unexplained(f"nothing says at which position {asked.request_id} was routed: give --position")
    position = await position_of(log, asked.position if asked.position is not None else asked.at)
    whence = await whence_of(log)
    names = whence.names.of
    deployment_id = await _deployment(log, asked, position)
    said = [*_of_request(asked, names)]
    route, replica = None, None
    if deployment_id is not None:
        place, sentences = await _of_deployment(log, asked, deployment_id, names.get(deployment_id, ""), position)
        said += sentences
        event = None if place is None else await set_by(whence, f"environment:{place}.current", position)
        route = None if place is None or event is None else await told(whence, place, event)
    if asked.replica_id is not None:
        first = await whence.first(asked.replica_id)
        if first is not None:
            replica = _until(await told(whence, asked.replica_id, first, with_life=True), position)
            said.append(_of_replica(asked.replica_id, replica, position))
        elif await whence.entity(asked.replica_id) is not None:
            said.append(f"replica {asked.replica_id} was there before this history began, at {beginning_of(log)}")
        else:
            raise Unexplained(f"there is no replica {asked.replica_id} in this history")
    return Explanation(asked, position, tuple(said), route, replica)


async def _of_deployment(
    log: Log, asked: Asked, deployment_id: DeploymentId, name: str, position: Position
) -> tuple[str | None, list[str]]:
    """The environment (its id) by which the request came to the deployment, and what to say of both."""
    table = await state_at(log, ROUTING, position)
    routes = table.deployments.get(deployment_id)
    if routes is None:
        return None, [f"at {position} there was no deployment {deployment_id}"]
    deployment = (await state_at(log, DEPLOYMENTS, position)).deployments[deployment_id]
    was = f"{status(deployment)} ({deployment.reason})"
    ready = len(routes.replicas)
    said = [f"at {position} {name} had {ready} ready {'replica' if ready == 1 else 'replicas'}; it was {was}"]
    places = [each for each, current in table.models[routes.model_id].environments.items() if current == deployment_id]
    by, _, wanted = (asked.target or "").partition(" ")
    place = wanted if by == "environment" and wanted in places else next(iter(places), None)
    said.append(f"it was current in {', '.join(places) or 'no environment: it was asked for by its id'}")
    return None if place is None else f"{routes.model_id}-{place}", said


async def _deployment(log: Log, asked: Asked, position: Position) -> DeploymentId | None:
    """By its name of then, or of now."""
    if asked.deployment_id is None:
        return None
    try:
        return resolve_deployment(await state_at(log, NAMES, position), asked.deployment_id)
    except UnknownName:
        return resolve_deployment(await state_at(log, NAMES), asked.deployment_id)


def _of_request(asked: Asked, names: dict[str, str]) -> Iterable[str]:
    if asked.target is not None:
        model = names.get(asked.model_id or "", asked.model_id or "no model")
        yield f"it asked for {model}, {asked.target}; the answer was {asked.status}"
    if asked.parked_s:
        yield f"it was parked for {asked.parked_s:.3f} s: no replica could take it when it came"
    if asked.deployment_id is None and asked.replica_id is None:
        yield "nothing says who answered it: the answer's headers do, for --deployment and --replica"
    if asked.attempts is not None and asked.attempts > 1:
        yield f"{asked.attempts} attempts were needed"


def _until(story: Story, position: Position) -> Story:
    return msgspec.structs.replace(story, steps=tuple(each for each in story.steps if each.position <= position))


def _of_replica(replica_id: str, story: Story, position: Position) -> str:
    if not story.steps:
        return f"nothing of replica {replica_id} had happened yet at {position}"
    ready = [each for each in story.steps if each.type == "ReplicaReady"]
    last = story.steps[-1]
    since = f"ready since {ready[-1].position}" if ready else "never ready until then"
    return f"replica {replica_id} was {since}; the last thing that happened to it was {last.type} at {last.position}"
