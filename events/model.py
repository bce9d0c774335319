"""A model and its deployments: one history per model, so that deployment numbers and names have one writer."""

from events.base import BlobDigest, DeploymentId, Event, ModelId


class ModelRegistered(Event, frozen=True, kw_only=True):
    """The first push under a name made the model. The id is derived from the team and the name."""

    model_id: ModelId
    name: str
    team: str


class DeploymentPushed(Event, frozen=True, kw_only=True):
    """An archive was uploaded and accepted: a new immutable deployment, or the new content of the development slot."""

    model_id: ModelId
    deployment_id: DeploymentId
    number: int
    """1, 2, 3 … per model; the default name is `deployment-<number>`."""
    name: str
    is_development: bool
    source: BlobDigest
    """The uploaded tar."""
    config: BlobDigest
    """The full truss config as JSON."""
    raw_config: BlobDigest | None
    """config.yaml as the user wrote it, where the client sent it."""
    environment: str | None
    """The environment that the push asks to be promoted to."""
    scale_down_previous: bool
    cpu_millicores: int
    memory_bytes: int
    predict_concurrency: int
    deploy_timeout_s: int
    labels: str
    """A JSON object, `{}` when none."""
    client: str
    """A JSON object: what the pushing client says of itself (versions, git state)."""


class DeploymentCopied(Event, frozen=True, kw_only=True):
    """It is a copy of another deployment: it runs what was built for that one, under an id and settings of its own."""

    model_id: ModelId
    deployment_id: DeploymentId
    original: DeploymentId
    reason: str


class DevelopmentPatched(Event, frozen=True, kw_only=True):
    """A development deployment's source was changed: by which patch, from what to what.

    A replica takes it on when a sync asks for it; one that starts after that starts with it.
    """

    model_id: ModelId
    deployment_id: DeploymentId
    number: int
    """1, 2, 3 … per deployment: the chain."""
    from_hash: str
    """truss's hash of the source that it changes: the build's, or the patch's before."""
    to_hash: str
    patch: BlobDigest
    """What changes: a JSON list of truss's patch operations."""
    signature: BlobDigest
    """truss's signature of the source with it, as JSON."""
    kinds: tuple[str, ...]
    """Of its operations: model_code, python_requirement …"""


class DevelopmentSyncRequested(Event, frozen=True, kw_only=True):
    """The running replica is to have the chain up to this patch; replicas that start from now on begin with it."""

    model_id: ModelId
    deployment_id: DeploymentId
    number: int
    attempt: int
    """1, 2, 3 … per deployment: what failed is tried again under the next."""


class DeploymentFailed(Event, frozen=True, kw_only=True):
    """A built deployment could not be brought up: its replicas failed again and again before one was ready."""

    model_id: ModelId
    deployment_id: DeploymentId
    reason: str


class DeploymentRenamed(Event, frozen=True, kw_only=True):
    """Its name is another one; its id, its address and its history stay."""

    model_id: ModelId
    deployment_id: DeploymentId
    name: str


class DeploymentLabelled(Event, frozen=True, kw_only=True):
    """These are its labels, all of them."""

    model_id: ModelId
    deployment_id: DeploymentId
    labels: str
    """A JSON object, `{}` when none."""


class DeploymentRetried(Event, frozen=True, kw_only=True):
    """A person asked to try a failed deployment again, from its build."""

    model_id: ModelId
    deployment_id: DeploymentId
    attempt: int
    """2 for the first retry."""


class DeploymentDeactivated(Event, frozen=True, kw_only=True):
    model_id: ModelId
    deployment_id: DeploymentId
    reason: str


class DeploymentActivated(Event, frozen=True, kw_only=True):
    """A deactivated deployment was taken up again."""

    model_id: ModelId
    deployment_id: DeploymentId


class DeploymentDeleted(Event, frozen=True, kw_only=True):
    """Final. Its history stays."""

    model_id: ModelId
    deployment_id: DeploymentId


class ModelDeleted(Event, frozen=True, kw_only=True):
    """Final for all its deployments. A push under the same name registers the model again, with numbers going on."""

    model_id: ModelId
