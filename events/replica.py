"""One replica: a model server process on a node. Its history ends with it."""

from events.base import BlobDigest, BuildId, DeploymentId, Event, ModelId, NodeId, ReplicaId
from events.weights import Mount


class ReplicaAssigned(Event, frozen=True, kw_only=True):
    """The placement decision, with all that the node needs to run it."""

    replica_id: ReplicaId
    model_id: ModelId
    deployment_id: DeploymentId
    node_id: NodeId
    ordinal: int
    """1, 2, 3 … per deployment."""
    build_id: BuildId
    bundle: BlobDigest
    environment: BlobDigest
    python_version: str
    cpu_millicores: int
    memory_bytes: int
    predict_concurrency: int
    reason: str
    weights: tuple[Mount, ...] = ()


class ReplicaEnvironmentReady(Event, frozen=True, kw_only=True):
    """Bundle and Python environment are on the node."""

    replica_id: ReplicaId
    deployment_id: DeploymentId
    seconds: float
    reused: bool


class ReplicaWeightsReady(Event, frozen=True, kw_only=True):
    """All files of its weights are on the node, and every byte was checked."""

    replica_id: ReplicaId
    deployment_id: DeploymentId
    seconds: float
    """Since its node began to fetch them, beside making its environment."""
    node_bytes: int
    """What the node had."""
    peer_bytes: int
    """What other nodes gave."""
    mirror_bytes: int


class ReplicaWeightsLate(Event, frozen=True, kw_only=True):
    """It waits for its weights; its node tries again until they are there or it is not wanted any more."""

    replica_id: ReplicaId
    deployment_id: DeploymentId
    lack: str
    """room (on the node's disk), mirror (out of reach), corrupt (nobody has the right bytes)."""
    reason: str


class ReplicaProcessStarted(Event, frozen=True, kw_only=True):
    replica_id: ReplicaId
    deployment_id: DeploymentId
    pid: int
    address: str
    """`host:port` of the model server."""


class ReplicaReady(Event, frozen=True, kw_only=True):
    """Loaded and healthy: may take requests from this position on."""

    replica_id: ReplicaId
    deployment_id: DeploymentId
    address: str
    seconds: float
    """Since its process was started."""


class ReplicaPatched(Event, frozen=True, kw_only=True):
    """A development deployment's replica runs its source with the chain up to this patch."""

    replica_id: ReplicaId
    deployment_id: DeploymentId
    number: int
    attempt: int
    """Of the sync that asked for it."""
    restarted: bool
    """Its model server began anew; else the code was exchanged and the model's memory kept."""
    seconds: float


class ReplicaPatchFailed(Event, frozen=True, kw_only=True):
    """A sync did not succeed on this replica. The next patch, or a push, mends it."""

    replica_id: ReplicaId
    deployment_id: DeploymentId
    number: int
    attempt: int
    reason: str
    needs_push: bool
    """No further patch can help."""


class ReplicaUnready(Event, frozen=True, kw_only=True):
    """Its readiness probe failed: takes no new requests until it is ready again."""

    replica_id: ReplicaId
    deployment_id: DeploymentId
    reason: str


class ReplicaDraining(Event, frozen=True, kw_only=True):
    """Takes no new requests from this position on; running ones end by themselves."""

    replica_id: ReplicaId
    deployment_id: DeploymentId
    reason: str


class ReplicaStopped(Event, frozen=True, kw_only=True):
    """Ended as asked."""

    replica_id: ReplicaId
    deployment_id: DeploymentId
    reason: str
    exit_code: int | None


class ReplicaFailed(Event, frozen=True, kw_only=True):
    """Ended by itself, or never came up."""

    replica_id: ReplicaId
    deployment_id: DeploymentId
    stage: str
    """environment, weights, start, load, run."""
    reason: str
    exit_code: int | None


class ReplicaLost(Event, frozen=True, kw_only=True):
    """Its node is gone; nobody can say how it ended."""

    replica_id: ReplicaId
    deployment_id: DeploymentId
    reason: str
