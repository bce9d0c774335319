"""What each node must run: the target that its agent reconciles towards."""

import msgspec

from events.base import BlobDigest, CorrelationId, DeploymentId, EventId, ModelId, NodeId, ReplicaId
from events.codec import Recorded
from events.replica import ReplicaAssigned, ReplicaDraining, ReplicaFailed, ReplicaLost, ReplicaStopped
from projections.base import Projection


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


NodeTarget = dict[ReplicaId, ReplicaTarget]


class ReplicaTargets(msgspec.Struct):
    nodes: dict[NodeId, NodeTarget] = {}
    node_of: dict[ReplicaId, NodeId] = {}

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
            )
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


REPLICA_TARGETS: Projection[ReplicaTargets] = Projection("replica_targets", 1, ReplicaTargets, ReplicaTargets, evolve)
