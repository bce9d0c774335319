"""What each node must run: the target that its agent reconciles towards."""

import msgspec

from events.base import BlobDigest, CorrelationId, DeploymentId, EventId, ModelId, NodeId, ReplicaId
from events.codec import Recorded
from events.model import DeploymentDeleted, DeploymentPushed, DevelopmentPatched, DevelopmentSyncRequested
from events.replica import ReplicaAssigned, ReplicaDraining, ReplicaFailed, ReplicaLost, ReplicaStopped
from events.weights import Mount
from projections.base import Projection
from projections.patches import Patches, changed


class ReplicaTarget(msgspec.Struct, frozen=True):
    replica_id: ReplicaId
    model_id: ModelId
    deployment_id: DeploymentId
    bundle: BlobDigest
    environment: BlobDigest
    python_version: str
    cpu_millicores: int
    memory_bytes: int
    predict_concurrency: int
    cause_id: EventId
    """The event that last changed this target: what the agent reports follows from it."""
    correlation_id: CorrelationId
    draining: bool = False
    reason: str = ""
    patches: Patches | None = None
    """None: not a development deployment's."""
    weights: tuple[Mount, ...] = ()
    """What it must find in its folders before it starts."""


NodeTarget = dict[ReplicaId, ReplicaTarget]


class ReplicaTargets(msgspec.Struct):
    nodes: dict[NodeId, NodeTarget] = {}
    node_of: dict[ReplicaId, NodeId] = {}
    patches: dict[DeploymentId, Patches] = {}
    """Of development deployments."""

    def of(self, node_id: NodeId) -> NodeTarget:
        return self.nodes.get(node_id, {})


def evolve(targets: ReplicaTargets, recorded: Recorded) -> ReplicaTargets:
    match recorded.event:
        case ReplicaAssigned() as event:
            targets.node_of[event.replica_id] = event.node_id
            targets.nodes.setdefault(event.node_id, {})[event.replica_id] = ReplicaTarget(
                event.replica_id,
                event.model_id,
                event.deployment_id,
                event.bundle,
                event.environment,
                event.python_version,
                event.cpu_millicores,
                event.memory_bytes,
                event.predict_concurrency,
                recorded.meta.id,
                recorded.meta.correlation_id,
                patches=targets.patches.get(event.deployment_id),
                weights=event.weights,
            )
        case DeploymentPushed(is_development=True, deployment_id=deployment_id):
            targets.patches[deployment_id] = Patches()
        case DeploymentDeleted(deployment_id=deployment_id):
            targets.patches.pop(deployment_id, None)
        case DevelopmentPatched() | DevelopmentSyncRequested() as event:
            _patch(targets, event, recorded)
        case ReplicaDraining(replica_id=replica_id, reason=reason) if replica_id in targets.node_of:
            target = targets.nodes[targets.node_of[replica_id]]
            target[replica_id] = msgspec.structs.replace(
                target[replica_id],
                draining=True,
                reason=reason,
                cause_id=recorded.meta.id,
                correlation_id=recorded.meta.correlation_id,
            )
        case ReplicaStopped() | ReplicaFailed() | ReplicaLost() as event:
            node_id = targets.node_of.pop(event.replica_id, None)
            if node_id is not None:
                del targets.nodes[node_id][event.replica_id]
    return targets


def _patch(targets: ReplicaTargets, event: DevelopmentPatched | DevelopmentSyncRequested, recorded: Recorded) -> None:
    patches = changed(targets.patches[event.deployment_id], event)
    assert patches is not None
    targets.patches[event.deployment_id] = patches
    if isinstance(event, DevelopmentPatched):
        return  # Nothing is asked of a replica yet.
    for node in targets.nodes.values():
        for target in tuple(node.values()):
            if target.deployment_id == event.deployment_id and not target.draining:
                node[target.replica_id] = msgspec.structs.replace(
                    target,
                    patches=patches,
                    cause_id=recorded.meta.id,
                    correlation_id=recorded.meta.correlation_id,
                )


REPLICA_TARGETS: Projection[ReplicaTargets] = Projection("replica_targets", 3, ReplicaTargets, ReplicaTargets, evolve)
