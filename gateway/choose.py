"""Where a request goes: to a replica, into the parking lot, or back with a reason. Pure.

Least in-flight among the ready replicas; equals take turns; a replica that has just failed is the last resort. A
request is parked only for a deployment that may still get a replica.
"""

from collections.abc import Container, Iterable, Mapping
from typing import Protocol

import msgspec

from events.base import DeploymentId, ReplicaId
from gateway.addresses import Target
from gateway.errors import Problem, not_found
from projections.routing import DeploymentRoutes, ModelRoutes, ReplicaRoute, RoutingTable

_LISTED = 8


class Load(Protocol):
    """What `choose` may know of the moment."""

    @property
    def in_flight(self) -> Mapping[ReplicaId, int]: ...

    @property
    def avoided(self) -> Container[ReplicaId]:
        """Replicas that refused or broke a connection a moment ago."""
        ...

    @property
    def turn(self) -> int:
        """Any number that differs from request to request: breaks ties."""
        ...


class Route(msgspec.Struct, frozen=True):
    deployment_id: DeploymentId
    replica: ReplicaRoute


class Park(msgspec.Struct, frozen=True):
    deployment_id: DeploymentId


class Unroutable(msgspec.Struct, frozen=True):
    problem: Problem


def choose(table: RoutingTable, target: Target, load: Load) -> Route | Park | Unroutable:
    deployment = resolve(table, target)
    if isinstance(deployment, Problem):
        return Unroutable(deployment)
    if deployment.replicas:
        return Route(deployment.deployment_id, _least_busy(deployment, load))
    return Park(deployment.deployment_id)


def resolve(table: RoutingTable, target: Target) -> DeploymentRoutes | Problem:
    """The deployment that is meant now, if it has a replica or may get one."""
    model = table.models.get(target.model_id)
    if model is None:
        known = _some(f"{each.model_id} ({each.name})" for each in table.models.values())
        return not_found(f"there is no model {target.model_id!r}; models: {known}")
    found = _of(table, model, target)
    if isinstance(found, Problem):
        return found
    if found.gone:
        reason = f"deployment {found.deployment_id} of model {model.name} is deactivated: activate it first"
        return Problem(404, "model_unavailable", reason)
    if found.refusal is not None and not found.replicas:
        reason = f"deployment {found.deployment_id} of model {model.name} cannot answer: {found.refusal}"
        return Problem(503, "model_unavailable", reason)
    return found


def _of(table: RoutingTable, model: ModelRoutes, target: Target) -> DeploymentRoutes | Problem:
    match target.by:
        case "environment":
            return _of_environment(table, model, target.name)
        case "development":
            if model.development is None:
                return not_found(
                    f"model {model.name} has no development deployment: push with --watch or call /production"
                )
            return table.deployments[model.development]
        case "deployment":
            deployment_id = DeploymentId(target.name)
            if deployment_id not in model.deployments:
                known = _some(sorted(model.deployments))
                return not_found(f"model {model.name} has no deployment {target.name!r}; deployments: {known}")
            return table.deployments[deployment_id]


def _of_environment(table: RoutingTable, model: ModelRoutes, name: str) -> DeploymentRoutes | Problem:
    if name not in model.environments:
        known = _some(sorted(model.environments))
        return not_found(f"model {model.name} has no environment {name!r}; environments: {known}")
    deployment_id = model.environments[name]
    if deployment_id is None or deployment_id not in table.deployments:
        return not_found(
            f"no deployment of model {model.name} serves the environment {name} yet: "
            f"push one with --environment {name} and wait until it is ACTIVE"
        )
    return table.deployments[deployment_id]


def _least_busy(deployment: DeploymentRoutes, load: Load) -> ReplicaRoute:
    replicas = tuple(deployment.replicas.values())
    if len(replicas) == 1:
        return replicas[0]
    start = load.turn % len(replicas)
    in_flight, avoided = load.in_flight, load.avoided
    return min(
        replicas[start:] + replicas[:start],
        key=lambda each: (each.replica_id in avoided, in_flight.get(each.replica_id, 0)),
    )


def _some(names: Iterable[str]) -> str:
    listed = tuple(names)
    more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
    return (", ".join(listed[:_LISTED]) or "none") + more
