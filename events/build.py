"""A build: from the uploaded archive to a bundle and an environment that any node can run. Ends by itself."""

from events.base import BlobDigest, BuildId, DeploymentId, Event, ModelId, NodeId
from events.weights import Mount


class BuildRequested(Event, frozen=True, kw_only=True):
    build_id: BuildId
    model_id: ModelId
    deployment_id: DeploymentId
    source: BlobDigest
    config: BlobDigest


class BuildStarted(Event, frozen=True, kw_only=True):
    build_id: BuildId
    deployment_id: DeploymentId
    builder: NodeId
    attempt: int
    """1, and one more each time that the builder had to begin again (it was killed)."""


class BuildStepFinished(Event, frozen=True, kw_only=True):
    build_id: BuildId
    deployment_id: DeploymentId
    step: str
    """unpack, context, weights, resolve, environment, commands, package."""
    seconds: float
    reused: bool
    """An identical result was already there."""
    detail: str


class BuildSucceeded(Event, frozen=True, kw_only=True):
    build_id: BuildId
    deployment_id: DeploymentId
    bundle: BlobDigest
    """A tar: the application folder, the packages and bundle.json."""
    environment: BlobDigest
    """The locked requirements as a blob; its digest with Python and platform names the environment."""
    python_version: str
    """`3.11`."""
    truss_hash: str
    """truss's hash of the pushed source: what the first patch of a live reload must start from."""
    truss_signature: BlobDigest
    """truss's signature of the pushed source, as JSON: what a client computes its first patch against."""
    seconds: float
    weights: tuple[Mount, ...] = ()
    """What its config's `weights` came to: pinned, mirrored, verified."""


class BuildFailed(Event, frozen=True, kw_only=True):
    build_id: BuildId
    deployment_id: DeploymentId
    step: str
    reason: str
    seconds: float


class BuildStopped(Event, frozen=True, kw_only=True):
    """Nobody needs the result any more (the deployment was deactivated or deleted)."""

    build_id: BuildId
    deployment_id: DeploymentId
    reason: str
