"""From replica targets to replicas on nodes: assign what lacks, drain what is too many, back off from what fails.

Placement spreads: the node with the most free memory first. What runs on a node that drains is handed over: another
replica is placed, and when that is ready the old one is drained. A deployment whose replicas fail START_FAILURES times
in a row without one being ready has failed, with the last reason. A node that holds more than it offers (two control
processes placed at once, or it came back smaller) is relieved of its youngest.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec

from events.base import DeploymentId, ModelId, ReplicaId
from events.build import BuildSucceeded
from events.codec import Recorded
from events.model import (
    DeploymentActivated,
    DeploymentDeleted,
    DeploymentFailed,
    DeploymentPushed,
    DeploymentRetried,
)
from events.node import NodeDraining, NodeJoined, NodeLeft, NodeLost
from events.replica import ReplicaAssigned, ReplicaFailed, ReplicaLost, ReplicaReady
from events.scaling import ReplicaTargetLowered, ReplicaTargetRaised, ScaledToZero
from handlers.backoff import backoff_s
from handlers.base import NOW, Cause, Due, Reactor, cause, caused_by
from handlers.deciders.model import FailDeployment
from handlers.deciders.replica import AssignReplica, DrainReplica
from handlers.deciders.scaling import ReportNoCapacity
from projections.fleet import FLEET, Fleet, Node, Placed

NAME = "place_replicas"
START_FAILURES = 3
BACKOFF_S = 1.0
BACKOFF_MAX_S = 60.0


class Want(msgspec.Struct):
    model_id: ModelId
    deployment_id: DeploymentId
    cpu_millicores: int
    memory_bytes: int
    predict_concurrency: int
    why: Cause
    """The event that last changed what is wanted or what there is."""
    target: int = 0
    target_rule: str = ""
    artifact: BuildSucceeded | None = None
    last_ordinal: int = 0
    failures: int = 0
    """In a row, since a replica was ready or somebody asked to try again."""
    failed_at: datetime = NOW
    failure: str = ""
    ready_before: bool = False


class Placement(msgspec.Struct):
    fleet: Fleet
    wants: dict[DeploymentId, Want] = {}
    open: dict[DeploymentId, None] = {}
    """Deployments whose live replicas are not what is wanted, in the order in which that happened."""


def evolve(state: Placement, recorded: Recorded) -> Placement:
    FLEET.evolve(state.fleet, recorded)
    event = recorded.event
    if isinstance(event, DeploymentPushed):
        state.wants[event.deployment_id] = Want(
            event.model_id,
            event.deployment_id,
            event.cpu_millicores,
            event.memory_bytes,
            event.predict_concurrency,
            cause(recorded),
        )
    if isinstance(event, NodeJoined | NodeDraining | NodeLeft | NodeLost):
        for placed in state.fleet.replicas.values():
            if placed.node_id == event.node_id and placed.deployment_id in state.wants:
                _note_open(state, state.wants[placed.deployment_id])
        for deployment_id in state.open:
            state.wants[deployment_id].why = cause(recorded)
        return state
    want = state.wants.get(getattr(event, "deployment_id", DeploymentId("")))
    if want is not None:
        if _change(want, recorded):
            want.why = cause(recorded)
        _note_open(state, want)
    if isinstance(event, DeploymentDeleted):
        _forget_if_gone(state, event.deployment_id)
    return state


def _change(want: Want, recorded: Recorded) -> bool:
    match recorded.event:
        case ReplicaTargetRaised() | ReplicaTargetLowered() as event:
            want.target, want.target_rule = event.target, event.rule
        case ScaledToZero() as event:
            want.target, want.target_rule = 0, event.rule
            want.failures = 0
        case DeploymentDeleted() | DeploymentFailed():
            want.target, want.target_rule = 0, "the deployment is gone"
        case BuildSucceeded() as event:
            want.artifact = event
        case ReplicaAssigned() as event:
            want.last_ordinal = max(want.last_ordinal, event.ordinal)
        case ReplicaReady():
            want.failures, want.ready_before = 0, True
        case ReplicaFailed() as event:
            want.failures += 1
            want.failed_at, want.failure = recorded.meta.at, f"{event.stage}: {event.reason}"
        case ReplicaLost():
            pass
        case DeploymentRetried() | DeploymentActivated():
            want.failures, want.ready_before = 0, False
        case _:
            return False
    return True


def _live(state: Placement, want: Want) -> tuple[list[Placed], list[Placed]]:
    """Those that stay, and those whose node drains."""
    staying, leaving = list[Placed](), list[Placed]()
    for each in state.fleet.of(want.deployment_id):
        if not each.draining:
            (leaving if _drains(state.fleet, each) else staying).append(each)
    return staying, leaving


def _drains(fleet: Fleet, placed: Placed) -> bool:
    node = fleet.nodes.get(placed.node_id)
    return node is not None and node.status == "draining"


def _note_open(state: Placement, want: Want) -> None:
    staying, leaving = _live(state, want)
    if len(staying) == want.target and not leaving:
        state.open.pop(want.deployment_id, None)
    else:
        state.open.setdefault(want.deployment_id)


def _forget_if_gone(state: Placement, deployment_id: DeploymentId) -> None:
    want = state.wants.get(deployment_id)
    if want is not None and not state.fleet.of(deployment_id):
        del state.wants[deployment_id]
        state.open.pop(deployment_id, None)


class Room(msgspec.Struct):
    """What is left of a node while several replicas are placed at once."""

    node: Node
    cpu_millicores: int
    memory_bytes: int


def due(state: Placement) -> Iterable[Due]:
    rooms = [Room(node, node.cpu_free, node.memory_free) for node in state.fleet.nodes.values() if node.status == "up"]
    for room in rooms:
        if room.cpu_millicores < 0 or room.memory_bytes < 0:
            yield from _relieve(state, room.node)
    for deployment_id in tuple(state.open):
        want = state.wants[deployment_id]
        staying, leaving = _live(state, want)
        if len(staying) > want.target:
            yield from _drain(want, staying)
        elif len(staying) < want.target and want.artifact is not None:
            yield from _assign(want, want.target - len(staying), rooms)
        yield from _hand_over(want, staying, leaving)


def _relieve(state: Placement, node: Node) -> Iterable[Due]:
    """What already leaves counts as gone."""
    own = [each for each in state.fleet.replicas.values() if each.node_id == node.node_id and not each.draining]
    cpu, memory = sum(each.cpu_millicores for each in own), sum(each.memory_bytes for each in own)
    for each in sorted(own, key=lambda each: (each.phase == "ready", -each.position)):
        if cpu <= node.cpu_millicores and memory <= node.memory_bytes:
            return
        want = state.wants.get(each.deployment_id)
        if want is None:  # Deleted: it is being drained for that.
            continue
        cpu, memory = cpu - each.cpu_millicores, memory - each.memory_bytes
        reason = f"node {node.node_id} holds more than it offers"
        yield Due(
            NOW,
            DrainReplica(
                **caused_by(want.why, NAME, "relieve", each.replica_id), replica_id=each.replica_id, reason=reason
            ),
        )


def _drain(want: Want, live: list[Placed]) -> Iterable[Due]:
    """The youngest that is not ready first, then the youngest."""
    surplus = sorted(live, key=lambda each: (each.phase == "ready", -each.ordinal))[: len(live) - want.target]
    for each in surplus:
        fields = caused_by(want.why, NAME, "drain", each.replica_id)
        yield Due(NOW, DrainReplica(**fields, replica_id=each.replica_id, reason=want.target_rule))


def _hand_over(want: Want, staying: list[Placed], leaving: list[Placed]) -> Iterable[Due]:
    """Who is not ready goes at once; of the others as many as are ready beyond the target."""
    spare = sum(1 for each in (*staying, *leaving) if each.phase == "ready") - want.target
    for each in sorted(leaving, key=lambda each: each.ordinal):
        if each.phase == "ready":
            spare -= 1
            if spare < 0:
                continue
        fields = caused_by(want.why, NAME, "hand over", each.replica_id)
        reason = f"node {each.node_id} drains"
        yield Due(NOW, DrainReplica(**fields, replica_id=each.replica_id, reason=reason))


def _assign(want: Want, lacking: int, rooms: list[Room]) -> Iterable[Due]:
    if want.failures >= START_FAILURES and not want.ready_before:
        reason = f"{want.failures} replicas failed one after the other; the last: {want.failure}"
        fields = caused_by(want.why, NAME, "fail", want.deployment_id)
        yield Due(
            NOW, FailDeployment(**fields, model_id=want.model_id, deployment_id=want.deployment_id, reason=reason)
        )
        return
    at = NOW
    if want.failures:
        at = want.failed_at + timedelta(seconds=backoff_s(want.failures, BACKOFF_S, BACKOFF_MAX_S))
    for index in range(lacking):
        room = _roomiest(want, rooms)
        if room is None:
            yield _no_capacity(want, rooms)
            return
        room.cpu_millicores -= want.cpu_millicores
        room.memory_bytes -= want.memory_bytes
        yield Due(at, _assignment(want, want.last_ordinal + 1 + index, room.node))


def _roomiest(want: Want, rooms: list[Room]) -> Room | None:
    fitting = [
        room for room in rooms if room.cpu_millicores >= want.cpu_millicores and room.memory_bytes >= want.memory_bytes
    ]
    return max(fitting, key=lambda room: (room.memory_bytes, room.node.node_id), default=None)


def _assignment(want: Want, ordinal: int, node: Node) -> AssignReplica:
    built = want.artifact
    assert built is not None, "only a built deployment is placed"
    return AssignReplica(
        **caused_by(want.why, NAME, "assign", want.deployment_id, ordinal),
        replica_id=ReplicaId(f"{want.deployment_id}-{ordinal}"),
        model_id=want.model_id,
        deployment_id=want.deployment_id,
        node_id=node.node_id,
        ordinal=ordinal,
        build_id=built.build_id,
        bundle=built.bundle,
        environment=built.environment,
        python_version=built.python_version,
        cpu_millicores=want.cpu_millicores,
        memory_bytes=want.memory_bytes,
        predict_concurrency=want.predict_concurrency,
        reason=want.target_rule,
        weights=built.weights,
    )


def _no_capacity(want: Want, rooms: list[Room]) -> Due:
    needed = f"{want.cpu_millicores} millicores and {want.memory_bytes >> 20} MiB"
    reason = f"no node has room for a replica ({needed}); {len(rooms)} nodes are up"
    fields = caused_by(want.why, NAME, "no capacity", want.deployment_id)
    return Due(NOW, ReportNoCapacity(**fields, deployment_id=want.deployment_id, reason=reason))


def _initial(now: datetime) -> Placement:
    return Placement(Fleet())


PLACE_REPLICAS: Reactor[Placement] = Reactor(NAME, _initial, evolve, due)
