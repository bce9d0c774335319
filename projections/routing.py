"""The routing table: model -> environment -> deployment -> replicas that may take requests.

A gateway worker holds one and reads nothing else to route. It says which deployments exist and may be waited for, so
that a request for a sleeping deployment is parked and one for an unknown deployment is refused.
"""

import msgspec

from events.base import DeploymentId, ModelId, ReplicaId
from events.build import BuildFailed, BuildRequested, BuildStopped
from events.codec import Recorded
from events.environment import EnvironmentCreated, EnvironmentDeleted, PromotionCompleted
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
    ReplicaAssigned,
    ReplicaDraining,
    ReplicaFailed,
    ReplicaLost,
    ReplicaReady,
    ReplicaStopped,
    ReplicaUnready,
)
from projections.base import Projection

PRODUCTION = "production"


class ReplicaRoute(msgspec.Struct, frozen=True):
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


class ModelRoutes(msgspec.Struct):
    model_id: ModelId
    name: str
    environments: dict[str, DeploymentId | None] = {}
    development: DeploymentId | None = None
    deployments: set[DeploymentId] = set()


class RoutingTable(msgspec.Struct):
    models: dict[ModelId, ModelRoutes] = {}
    deployments: dict[DeploymentId, DeploymentRoutes] = {}
    draining: set[ReplicaId] = set()


def evolve(table: RoutingTable, recorded: Recorded) -> RoutingTable:
    match recorded.event:
        case (
            ReplicaReady()
            | ReplicaUnready()
            | ReplicaDraining()
            | ReplicaStopped()
            | ReplicaFailed()
            | ReplicaLost()
            | ReplicaAssigned() as event
        ):
            _replica(table, event)
        case PromotionCompleted() | EnvironmentCreated() | EnvironmentDeleted() as event:
            _environment(table, event)
        case ModelRegistered(model_id=model_id, name=name):
            table.models[model_id] = ModelRoutes(model_id, name, {PRODUCTION: None})
        case ModelDeleted(model_id=model_id):
            model = table.models.pop(model_id)
            for deployment_id in sorted(model.deployments):
                del table.deployments[deployment_id]
        case DeploymentPushed() as event:
            _pushed(table, event)
        case DeploymentDeleted(model_id=model_id, deployment_id=deployment_id):
            _deleted(table, model_id, deployment_id)
        case (
            DeploymentFailed()
            | DeploymentRetried()
            | DeploymentActivated()
            | DeploymentDeactivated()
            | BuildFailed()
            | BuildStopped()
            | BuildRequested() as event
        ):
            _availability(table, event)
    return table


def _replica(
    table: RoutingTable,
    event: ReplicaReady
    | ReplicaUnready
    | ReplicaDraining
    | ReplicaStopped
    | ReplicaFailed
    | ReplicaLost
    | ReplicaAssigned,
) -> None:
    if isinstance(event, ReplicaDraining):
        table.draining.add(event.replica_id)
    if isinstance(event, ReplicaStopped | ReplicaFailed | ReplicaLost):
        table.draining.discard(event.replica_id)
    deployment = table.deployments.get(event.deployment_id)
    if deployment is None:
        return
    if isinstance(event, ReplicaReady) and event.replica_id not in table.draining:
        deployment.replicas[event.replica_id] = ReplicaRoute(event.replica_id, event.address)
    else:
        deployment.replicas.pop(event.replica_id, None)


def _environment(table: RoutingTable, event: PromotionCompleted | EnvironmentCreated | EnvironmentDeleted) -> None:
    model = table.models.get(event.model_id)
    if model is None:
        return
    match event:
        case PromotionCompleted():
            model.environments[event.environment] = event.deployment_id
        case EnvironmentCreated():
            model.environments[event.environment] = None
        case EnvironmentDeleted():
            model.environments.pop(event.environment, None)


def _pushed(table: RoutingTable, event: DeploymentPushed) -> None:
    model = table.models[event.model_id]
    model.deployments.add(event.deployment_id)
    if event.is_development:
        model.development = event.deployment_id
    table.deployments[event.deployment_id] = DeploymentRoutes(
        event.model_id, event.deployment_id, event.is_development, event.predict_concurrency
    )


def _deleted(table: RoutingTable, model_id: ModelId, deployment_id: DeploymentId) -> None:
    model = table.models[model_id]
    model.deployments.discard(deployment_id)
    table.deployments.pop(deployment_id, None)
    if model.development == deployment_id:
        model.development = None


def _availability(
    table: RoutingTable,
    event: DeploymentFailed
    | DeploymentRetried
    | DeploymentActivated
    | DeploymentDeactivated
    | BuildFailed
    | BuildStopped
    | BuildRequested,
) -> None:
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
        case DeploymentActivated():
            deployment.gone, deployment.refusal = False, None
        case DeploymentRetried() | BuildRequested():
            deployment.refusal = None


ROUTING: Projection[RoutingTable] = Projection("routing", 1, RoutingTable, RoutingTable, evolve)
