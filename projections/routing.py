"""The routing table: model -> environment -> deployment -> replicas that may take requests.

A gateway worker holds one and reads nothing else to route. It says which deployments exist and may be waited for, so
that a request for a sleeping deployment is parked and one for an unknown deployment is refused.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from events.base import DeploymentId, ModelId, ReplicaId
from events.build import BuildFailed, BuildRequested, BuildStopped
from events.codec import Recorded
from events.environment import (
    EnvironmentCreated,
    EnvironmentDeleted,
    PromotionCancelled,
    PromotionCompleted,
    PromotionFailed,
    PromotionRolledBack,
    PromotionStarted,
    PromotionStepped,
    RequestLimits,
    RequestLimitsSet,
)
from events.model import (
    DeploymentActivated,
    DeploymentDeactivated,
    DeploymentDeleted,
    DeploymentFailed,
    DeploymentPushed,
    DeploymentRetried,
    ModelDeleted,
    ModelRegistered,
)
from events.replica import (
    ReplicaDraining,
    ReplicaFailed,
    ReplicaLost,
    ReplicaReady,
    ReplicaStopped,
    ReplicaUnready,
)
from projections.base import Projection

PRODUCTION = "production"
Ended = ReplicaStopped | ReplicaFailed | ReplicaLost
Refusal = DeploymentFailed | BuildFailed | BuildStopped | DeploymentDeactivated


class ReplicaRoute(msgspec.Struct, frozen=True, cache_hash=True):
    replica_id: ReplicaId
    address: str
    """host:port"""


class DeploymentRoutes(msgspec.Struct):
    model_id: ModelId
    deployment_id: DeploymentId
    is_development: bool
    predict_concurrency: int
    refusal: str | None = None
    """Why it can have no replica (deactivated, build failed, failed); None: a request may wait for one."""
    gone: bool = False
    """Deactivated: addressed as if it did not exist (404)."""
    replicas: dict[ReplicaId, ReplicaRoute] = {}
    """Ready and not draining."""


class Candidate(msgspec.Struct, frozen=True):
    """Who is to serve an environment next: its promotion is active, or its push asked for it."""

    deployment_id: DeploymentId
    percent: int = 0
    """Of the environment's requests that go to it already."""
    promoted: bool = False
    compared: bool = False
    """Its answers and those of the current deployment are to be measured."""


class ModelRoutes(msgspec.Struct):
    model_id: ModelId
    name: str
    environments: dict[str, DeploymentId | None] = {}
    development: DeploymentId | None = None
    deployments: set[DeploymentId] = set()
    limits: dict[str, RequestLimits] = {}
    """By environment, where they are set."""
    candidates: dict[str, Candidate] = {}
    """By environment."""


class RoutingTable(msgspec.Struct):
    models: dict[ModelId, ModelRoutes] = {}
    deployments: dict[DeploymentId, DeploymentRoutes] = {}
    draining: set[ReplicaId] = set()
    names: dict[str, ModelId] = {}
    """Of models."""


def evolve(table: RoutingTable, recorded: Recorded) -> RoutingTable:
    step = _STEPS.get(type(recorded.event))
    if step is not None:
        step(table, recorded.event)
    return table


def _ready(table: RoutingTable, event: ReplicaReady) -> None:
    deployment = table.deployments.get(event.deployment_id)
    if deployment is not None and event.replica_id not in table.draining:
        deployment.replicas[event.replica_id] = ReplicaRoute(event.replica_id, event.address)


def _unrouted(table: RoutingTable, event: ReplicaUnready | ReplicaDraining | Ended) -> None:
    deployment = table.deployments.get(event.deployment_id)
    if deployment is not None:
        deployment.replicas.pop(event.replica_id, None)


def _draining(table: RoutingTable, event: ReplicaDraining) -> None:
    table.draining.add(event.replica_id)
    _unrouted(table, event)


def _ended(table: RoutingTable, event: Ended) -> None:
    table.draining.discard(event.replica_id)
    _unrouted(table, event)


def _registered(table: RoutingTable, event: ModelRegistered) -> None:
    table.models[event.model_id] = ModelRoutes(event.model_id, event.name, {PRODUCTION: None})
    table.names[event.name] = event.model_id


def _model_deleted(table: RoutingTable, event: ModelDeleted) -> None:
    model = table.models.pop(event.model_id)
    if table.names.get(model.name) == event.model_id:
        del table.names[model.name]
    for deployment_id in sorted(model.deployments):
        del table.deployments[deployment_id]


def _pushed(table: RoutingTable, event: DeploymentPushed) -> None:
    model = table.models[event.model_id]
    model.deployments.add(event.deployment_id)
    if event.is_development:
        model.development = event.deployment_id
    table.deployments[event.deployment_id] = DeploymentRoutes(
        event.model_id, event.deployment_id, event.is_development, event.predict_concurrency
    )
    if event.environment is not None:
        before = model.candidates.get(event.environment)
        if before is None or not before.promoted:
            model.candidates[event.environment] = Candidate(event.deployment_id)


def _deleted(table: RoutingTable, event: DeploymentDeleted) -> None:
    model = table.models[event.model_id]
    model.deployments.discard(event.deployment_id)
    table.deployments.pop(event.deployment_id, None)
    if model.development == event.deployment_id:
        model.development = None
    for environment in [name for name, each in model.candidates.items() if each.deployment_id == event.deployment_id]:
        del model.candidates[environment]


def _points_to(table: RoutingTable, event: PromotionCompleted | EnvironmentCreated) -> None:
    model = table.models.get(event.model_id)
    if model is not None:
        current = event.deployment_id if isinstance(event, PromotionCompleted) else None
        model.environments[event.environment] = current
        if current is not None:
            model.candidates.pop(event.environment, None)


def _promoted(table: RoutingTable, event: PromotionStarted) -> None:
    model = table.models.get(event.model_id)
    if model is not None:
        compared = event.settings.compares
        model.candidates[event.environment] = Candidate(event.deployment_id, promoted=True, compared=compared)


def _weighed(table: RoutingTable, event: PromotionStepped | PromotionRolledBack) -> None:
    model = table.models.get(event.model_id)
    candidate = None if model is None else model.candidates.get(event.environment)
    if model is not None and candidate is not None:
        model.candidates[event.environment] = msgspec.structs.replace(candidate, percent=event.percent)


def _not_promoted(table: RoutingTable, event: PromotionFailed | PromotionCancelled) -> None:
    model = table.models.get(event.model_id)
    if model is not None:
        model.candidates.pop(event.environment, None)


def _environment_deleted(table: RoutingTable, event: EnvironmentDeleted) -> None:
    model = table.models.get(event.model_id)
    if model is not None:
        model.environments.pop(event.environment, None)
        model.limits.pop(event.environment, None)
        model.candidates.pop(event.environment, None)


def _limited(table: RoutingTable, event: RequestLimitsSet) -> None:
    model = table.models.get(event.model_id)
    if model is not None:
        model.limits[event.environment] = event.limits


def _refused(table: RoutingTable, event: Refusal) -> None:
    deployment = table.deployments.get(event.deployment_id)
    if deployment is None:
        return
    match event:
        case DeploymentFailed():
            deployment.refusal = f"the deployment failed: {event.reason}"
        case BuildFailed():
            deployment.refusal = f"the build failed at {event.step}: {event.reason}"
        case BuildStopped():
            deployment.refusal = f"the build was stopped: {event.reason}"
        case DeploymentDeactivated():
            deployment.gone, deployment.refusal = True, "the deployment is deactivated"


def _may_serve(table: RoutingTable, event: DeploymentRetried | DeploymentActivated | BuildRequested) -> None:
    deployment = table.deployments.get(event.deployment_id)
    if deployment is not None:
        deployment.refusal = None
        deployment.gone = deployment.gone and not isinstance(event, DeploymentActivated)


# By type, not case after case: a gateway folds a whole history at its start, and most of it is not about routes.
_STEPS: Mapping[type, Callable[[RoutingTable, Any], None]] = {
    ReplicaReady: _ready,
    ReplicaUnready: _unrouted,
    ReplicaDraining: _draining,
    ReplicaStopped: _ended,
    ReplicaFailed: _ended,
    ReplicaLost: _ended,
    ModelRegistered: _registered,
    ModelDeleted: _model_deleted,
    DeploymentPushed: _pushed,
    DeploymentDeleted: _deleted,
    PromotionStarted: _promoted,
    PromotionStepped: _weighed,
    PromotionRolledBack: _weighed,
    PromotionCompleted: _points_to,
    PromotionFailed: _not_promoted,
    PromotionCancelled: _not_promoted,
    EnvironmentCreated: _points_to,
    EnvironmentDeleted: _environment_deleted,
    RequestLimitsSet: _limited,
    DeploymentFailed: _refused,
    BuildFailed: _refused,
    BuildStopped: _refused,
    DeploymentDeactivated: _refused,
    DeploymentRetried: _may_serve,
    DeploymentActivated: _may_serve,
    BuildRequested: _may_serve,
}

ROUTING: Projection[RoutingTable] = Projection("routing", 4, RoutingTable, RoutingTable, evolve)
