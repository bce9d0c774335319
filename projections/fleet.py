"""The fleet: which nodes are up, what they offer, and which replicas live on them in which phase."""

from typing import Literal

import msgspec

from events.base import DeploymentId, ModelId, NodeId, Position, ReplicaId
from events.codec import Recorded
from events.node import (
    NodeDraining,
    NodeJoined,
    NodeLeft,
    NodeLost,
    WeightsPrefetched,
    WeightsPrefetchFailed,
    WeightsPrefetchLate,
    WeightsPrefetchRequested,
    WeightsPrefetchWithdrawn,
)
from events.replica import (
    ReplicaAssigned,
    ReplicaDraining,
    ReplicaEnvironmentReady,
    ReplicaFailed,
    ReplicaLost,
    ReplicaProcessStarted,
    ReplicaReady,
    ReplicaStopped,
    ReplicaUnready,
)
from events.weights import ManifestId
from projections.base import Projection

NodeStatus = Literal["up", "draining", "lost", "left"]
"""Only a node that is up takes new replicas."""
Phase = Literal["assigned", "prepared", "started", "ready", "unready"]


class Prefetch(msgspec.Struct):
    """Weights that somebody wants on a node before a replica needs them."""

    position: Position
    """Of the wish."""
    waits: str = ""
    """Why they are not there yet, as the node told last."""


class Node(msgspec.Struct):
    node_id: NodeId
    boot_id: str
    host: str
    cpu_millicores: int
    memory_bytes: int
    isolation: str
    status: NodeStatus
    position: Position
    """Of the event that put it into this status."""
    cpu_used: int = 0
    memory_used: int = 0
    weights_address: str = ""
    """Where other nodes get weights of it."""
    prefetches: dict[ManifestId, Prefetch] = {}

    @property
    def cpu_free(self) -> int:
        """Less than nothing where it holds more than it offers."""
        return self.cpu_millicores - self.cpu_used

    @property
    def memory_free(self) -> int:
        return self.memory_bytes - self.memory_used


class Placed(msgspec.Struct):
    """A live replica."""

    replica_id: ReplicaId
    model_id: ModelId
    deployment_id: DeploymentId
    node_id: NodeId
    ordinal: int
    cpu_millicores: int
    memory_bytes: int
    phase: Phase
    draining: bool
    address: str
    position: Position
    """Of the event that put it into this phase."""
    reason: str


class Fleet(msgspec.Struct):
    nodes: dict[NodeId, Node] = {}
    replicas: dict[ReplicaId, Placed] = {}
    by_deployment: dict[DeploymentId, list[ReplicaId]] = {}
    """Ids, not replicas: a state holds each thing once, or a snapshot would tear it in two."""

    def of(self, deployment_id: DeploymentId) -> tuple[Placed, ...]:
        return tuple(self.replicas[each] for each in self.by_deployment.get(deployment_id, ()))


def evolve(fleet: Fleet, recorded: Recorded) -> Fleet:
    match recorded.event:
        case NodeJoined() as event:
            _join(fleet, event, recorded.position)
        case NodeDraining(node_id=node_id):
            _set_status(fleet, node_id, "draining", recorded.position)
        case NodeLost(node_id=node_id):
            _set_status(fleet, node_id, "lost", recorded.position)
        case NodeLeft(node_id=node_id):
            _set_status(fleet, node_id, "left", recorded.position)
            _prefetches(fleet, node_id).clear()
        case WeightsPrefetchRequested() as event:
            _prefetches(fleet, event.node_id)[event.manifest_id] = Prefetch(recorded.position)
        case WeightsPrefetchLate() as event:
            if (wish := _prefetches(fleet, event.node_id).get(event.manifest_id)) is not None:
                wish.waits = event.reason
        case WeightsPrefetched() | WeightsPrefetchFailed() | WeightsPrefetchWithdrawn() as event:
            _prefetches(fleet, event.node_id).pop(event.manifest_id, None)
        case ReplicaAssigned() as event:
            _place(fleet, event, recorded.position)
        case ReplicaStopped() | ReplicaFailed() | ReplicaLost() as event:
            _end(fleet, event.replica_id)
        case (
            ReplicaEnvironmentReady()
            | ReplicaProcessStarted()
            | ReplicaReady()
            | ReplicaUnready()
            | ReplicaDraining() as event
        ):
            placed = fleet.replicas.get(event.replica_id)
            if placed is not None:
                _advance(placed, event)
                placed.position = recorded.position
    return fleet


def _join(fleet: Fleet, event: NodeJoined, position: Position) -> None:
    before = fleet.nodes.get(event.node_id)
    fleet.nodes[event.node_id] = Node(
        event.node_id,
        event.boot_id,
        event.host,
        event.cpu_millicores,
        event.memory_bytes,
        event.isolation,
        "up",
        position,
        before.cpu_used if before else 0,
        before.memory_used if before else 0,
        event.weights_address,
        before.prefetches if before else {},
    )


def _prefetches(fleet: Fleet, node_id: NodeId) -> dict[ManifestId, Prefetch]:
    node = fleet.nodes.get(node_id)
    return {} if node is None else node.prefetches


def _set_status(fleet: Fleet, node_id: NodeId, status: NodeStatus, position: Position) -> None:
    node = fleet.nodes.get(node_id)
    if node is not None:
        node.status = status
        node.position = position


def _place(fleet: Fleet, event: ReplicaAssigned, position: Position) -> None:
    placed = Placed(
        event.replica_id,
        event.model_id,
        event.deployment_id,
        event.node_id,
        event.ordinal,
        event.cpu_millicores,
        event.memory_bytes,
        "assigned",
        False,
        "",
        position,
        event.reason,
    )
    fleet.replicas[event.replica_id] = placed
    fleet.by_deployment.setdefault(event.deployment_id, []).append(event.replica_id)
    node = fleet.nodes.get(event.node_id)
    if node is not None:
        node.cpu_used += event.cpu_millicores
        node.memory_used += event.memory_bytes


def _end(fleet: Fleet, replica_id: ReplicaId) -> None:
    placed = fleet.replicas.pop(replica_id, None)
    if placed is None:
        return
    siblings = fleet.by_deployment[placed.deployment_id]
    siblings.remove(replica_id)
    if not siblings:
        del fleet.by_deployment[placed.deployment_id]
    node = fleet.nodes.get(placed.node_id)
    if node is not None:
        node.cpu_used -= placed.cpu_millicores
        node.memory_used -= placed.memory_bytes


def _advance(
    placed: Placed,
    event: ReplicaEnvironmentReady | ReplicaProcessStarted | ReplicaReady | ReplicaUnready | ReplicaDraining,
) -> None:
    match event:
        case ReplicaEnvironmentReady():
            placed.phase = "prepared"
        case ReplicaProcessStarted():
            placed.phase, placed.address = "started", event.address
        case ReplicaReady():
            placed.phase, placed.address = "ready", event.address
        case ReplicaUnready():
            placed.phase, placed.reason = "unready", event.reason
        case ReplicaDraining():
            placed.draining, placed.reason = True, event.reason


FLEET: Projection[Fleet] = Projection("fleet", 4, Fleet, Fleet, evolve)
