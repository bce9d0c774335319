"""The catalogue: models, their deployments, and each deployment's status with a one-line reason and its position."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from events.base import BlobDigest, BuildId, DeploymentId, ModelId, Position, ReplicaId
from events.build import (
    BuildFailed,
    BuildRequested,
    BuildStarted,
    BuildStepFinished,
    BuildStopped,
    BuildSucceeded,
)
from events.codec import Recorded
from events.model import (
    DeploymentActivated,
    DeploymentDeactivated,
    DeploymentDeleted,
    DeploymentFailed,
    DeploymentLabelled,
    DeploymentPushed,
    DeploymentRenamed,
    DeploymentRetried,
    DevelopmentPatched,
    DevelopmentSyncRequested,
    ModelDeleted,
    ModelRegistered,
)
from events.replica import (
    ReplicaAssigned,
    ReplicaDraining,
    ReplicaEnvironmentReady,
    ReplicaFailed,
    ReplicaLost,
    ReplicaPatched,
    ReplicaPatchFailed,
    ReplicaProcessStarted,
    ReplicaReady,
    ReplicaStopped,
    ReplicaUnready,
    ReplicaWeightsLate,
    ReplicaWeightsReady,
)
from events.scaling import (
    AutoscalingSettings,
    CapacityLacking,
    ReplicaTargetLowered,
    ReplicaTargetRaised,
    ScaledToZero,
    ScalingConfigured,
)
from events.weights import WeightsMirrored, WeightsPinned
from projections.base import Projection
from projections.patches import Patches, changed

Status = Literal[
    "BUILDING",
    "BUILD_FAILED",
    "BUILD_STOPPED",
    "DEPLOYING",
    "DEPLOY_FAILED",
    "LOADING_MODEL",
    "ACTIVE",
    "UNHEALTHY",
    "SCALED_TO_ZERO",
    "WAKING_UP",
    "DEACTIVATING",
    "INACTIVE",
]
BuildPhase = Literal["none", "requested", "running", "succeeded", "failed", "stopped"]
ReplicaPhase = Literal["starting", "loading", "ready", "unready", "draining"]


class Synced(msgspec.Struct, frozen=True):
    """How the last sync of a development deployment ended that ended."""

    attempt: int
    failure: str | None = None
    needs_push: bool = False


class Deployment(msgspec.Struct):
    deployment_id: DeploymentId
    model_id: ModelId
    number: int
    name: str
    is_development: bool
    created_at: str
    """ISO 8601, UTC."""
    position: Position
    """Of its push."""
    source: BlobDigest
    config: BlobDigest
    raw_config: BlobDigest | None
    cpu_millicores: int
    memory_bytes: int
    predict_concurrency: int
    labels: str
    deploy_timeout_s: int
    phase: Literal["active", "failed", "inactive"] = "active"
    build: BuildPhase = "none"
    build_id: BuildId | None = None
    truss_hash: str = ""
    truss_signature: BlobDigest | None = None
    patches: Patches = Patches()
    running: int = 0
    """How much of the patch chain its replica is known to run."""
    synced: Synced = Synced(0)
    settings: AutoscalingSettings = AutoscalingSettings()
    target: int = 0
    replicas: dict[ReplicaId, ReplicaPhase] = {}
    was_ready: bool = False
    """Some replica of it has been ready since it was pushed, retried or activated."""
    was_up: bool = False
    """It has had a target above zero."""
    failing: bool = False
    """A replica failed and none has been ready since."""
    reason: str = ""
    reason_position: Position = Position(0)

    def count(self, phase: ReplicaPhase) -> int:
        return [*self.replicas.values()].count(phase)


class Model(msgspec.Struct):
    model_id: ModelId
    name: str
    team: str
    created_at: str
    deployments: list[DeploymentId] = []
    """Oldest first."""


class Catalogue(msgspec.Struct):
    models: dict[ModelId, Model] = {}
    deployments: dict[DeploymentId, Deployment] = {}

    def by_name(self, name: str) -> Model | None:
        return next((model for model in self.models.values() if model.name == name), None)

    def development_of(self, model_id: ModelId) -> Deployment | None:
        own = (self.deployments[each] for each in self.models[model_id].deployments)
        return next((deployment for deployment in own if deployment.is_development), None)


_OF_BUILD: Mapping[BuildPhase, Status] = {
    "none": "BUILDING",
    "requested": "BUILDING",
    "running": "BUILDING",
    "failed": "BUILD_FAILED",
    "stopped": "BUILD_STOPPED",
}


def status(deployment: Deployment) -> Status:
    if deployment.phase == "inactive":
        return "DEACTIVATING" if deployment.replicas else "INACTIVE"
    if deployment.build != "succeeded":
        return _OF_BUILD[deployment.build]
    if deployment.phase == "failed":
        return "DEPLOY_FAILED"
    if deployment.count("ready"):
        return "ACTIVE"
    if deployment.target == 0:
        return "SCALED_TO_ZERO" if deployment.was_up else "DEPLOYING"
    if deployment.was_ready and (deployment.failing or deployment.count("unready")):
        return "UNHEALTHY"
    if deployment.was_ready:
        return "WAKING_UP"
    return "LOADING_MODEL" if deployment.count("loading") else "DEPLOYING"


def evolve(catalogue: Catalogue, recorded: Recorded) -> Catalogue:
    event = recorded.event
    match event:
        case ModelRegistered():
            at = recorded.meta.at.isoformat()
            catalogue.models[event.model_id] = Model(event.model_id, event.name, event.team, at)
        case ModelDeleted():
            for each in catalogue.models.pop(event.model_id).deployments:
                del catalogue.deployments[each]
        case DeploymentPushed():
            _push(catalogue, event, recorded.meta.at.isoformat(), recorded.position)
        case DeploymentDeleted():
            catalogue.models[event.model_id].deployments.remove(event.deployment_id)
            del catalogue.deployments[event.deployment_id]
        case _:
            deployment = catalogue.deployments.get(getattr(event, "deployment_id", DeploymentId("")))
            if deployment is not None:
                was_over = deployment.phase != "active"
                reason = _change(deployment, recorded) or _replica_change(deployment, recorded)
                # What winds down after an end is not why it ended.
                if reason is not None and not (was_over and deployment.phase != "active"):
                    deployment.reason, deployment.reason_position = reason, recorded.position
    return catalogue


def _push(catalogue: Catalogue, event: DeploymentPushed, at: str, position: Position) -> None:
    catalogue.models[event.model_id].deployments.append(event.deployment_id)
    catalogue.deployments[event.deployment_id] = Deployment(
        event.deployment_id,
        event.model_id,
        event.number,
        event.name,
        event.is_development,
        at,
        position,
        event.source,
        event.config,
        event.raw_config,
        event.cpu_millicores,
        event.memory_bytes,
        event.predict_concurrency,
        event.labels,
        event.deploy_timeout_s,
        reason="pushed; its build will be requested",
        reason_position=position,
    )


def _change(deployment: Deployment, recorded: Recorded) -> str | None:
    """Applies an event about the whole deployment; gives the reason of the status that it leads to."""
    match recorded.event:
        case BuildRequested() as event:
            deployment.build, deployment.build_id = "requested", event.build_id
            return "waits for a builder"
        case BuildStarted() as event:
            deployment.build = "running"
            return f"builder {event.builder} is at it" + (f", attempt {event.attempt}" * (event.attempt > 1))
        case BuildStepFinished() as event:
            return f"build step {event.step} is done"
        case WeightsPinned() as event:
            return f"weights {event.source} are being mirrored: {event.bytes:,} bytes"
        case WeightsMirrored() as event:
            return f"weights {event.source} are mirrored"
        case BuildSucceeded() as event:
            deployment.build = "succeeded"
            deployment.truss_hash, deployment.truss_signature = event.truss_hash, event.truss_signature
            return f"built in {event.seconds:.1f} s"
        case BuildFailed() as event:
            deployment.build = "failed"
            return f"build step {event.step} failed: {event.reason}"
        case BuildStopped() as event:
            deployment.build = "stopped"
            return event.reason
        case DeploymentFailed() as event:
            deployment.phase = "failed"
            return event.reason
        case DeploymentDeactivated() as event:
            deployment.phase = "inactive"
            return event.reason
        case DeploymentRenamed() as event:
            deployment.name = event.name
        case DeploymentLabelled() as event:
            deployment.labels = event.labels
        case DeploymentRetried() | DeploymentActivated() as event:
            deployment.phase, deployment.was_ready, deployment.failing = "active", False, False
            return "to be tried again" if isinstance(event, DeploymentRetried) else "activated"
        case ScalingConfigured() as event:
            deployment.settings = event.settings
        case ReplicaTargetRaised() | ReplicaTargetLowered() as event:
            deployment.target, deployment.was_up = event.target, True
            return f"{event.previous} -> {event.target} replicas: {event.rule}"
        case ScaledToZero() as event:
            deployment.target, deployment.failing = 0, False
            return f"{event.previous} -> 0 replicas: {event.rule}"
        case CapacityLacking() as event:
            return event.reason
        case DevelopmentPatched() | DevelopmentSyncRequested() as event:
            deployment.patches = changed(deployment.patches, event) or deployment.patches
    return None


def _replica_change(deployment: Deployment, recorded: Recorded) -> str | None:
    replicas = deployment.replicas
    match recorded.event:
        case ReplicaAssigned() as event:
            replicas[event.replica_id] = "starting"
            return f"replica {event.replica_id} is being prepared on node {event.node_id}"
        case ReplicaEnvironmentReady() as event:
            return f"replica {event.replica_id} has its environment"
        case ReplicaWeightsReady() as event:
            return f"replica {event.replica_id} has its weights"
        case ReplicaWeightsLate() as event:
            return f"replica {event.replica_id} waits for its weights: {event.reason}"
        case ReplicaProcessStarted() as event:
            _set_unless_draining(deployment, event.replica_id, "loading")
            return f"replica {event.replica_id} loads the model"
        case ReplicaReady() as event:
            _set_unless_draining(deployment, event.replica_id, "ready")
            deployment.was_ready, deployment.failing = True, False
            return f"replica {event.replica_id} is ready"
        case ReplicaUnready() as event:
            _set_unless_draining(deployment, event.replica_id, "unready")
            return f"replica {event.replica_id} is not ready: {event.reason}"
        case ReplicaPatched() as event:
            deployment.running, deployment.synced = event.number, Synced(event.attempt)
            return f"replica {event.replica_id} runs patch {event.number}"
        case ReplicaPatchFailed() as event:
            deployment.synced = Synced(event.attempt, event.reason, event.needs_push)
            return f"patch {event.number} failed on replica {event.replica_id}: {event.reason}"
        case ReplicaDraining() as event:
            if event.replica_id in replicas:
                replicas[event.replica_id] = "draining"
        case ReplicaStopped() as event:
            replicas.pop(event.replica_id, None)
        case ReplicaFailed() | ReplicaLost() as event:
            replicas.pop(event.replica_id, None)
            deployment.failing = deployment.count("ready") == 0 and deployment.target > 0
            return f"replica {event.replica_id}: {event.reason}"
    return None


def _set_unless_draining(deployment: Deployment, replica_id: ReplicaId, phase: ReplicaPhase) -> None:
    if deployment.replicas.get(replica_id, "draining") != "draining":
        deployment.replicas[replica_id] = phase


DEPLOYMENTS: Projection[Catalogue] = Projection("deployments", 5, Catalogue, Catalogue, evolve)
