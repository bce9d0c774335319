"""Which deployment a request means: by model and environment, by its id, or by a name alone. Pure.

What means nothing is answered with what there is instead.
"""

from collections.abc import Iterable

from events.base import DeploymentId, ModelId
from gateway.addresses import Target
from gateway.errors import Problem, not_found
from projections.routing import PRODUCTION, DeploymentRoutes, ModelRoutes, RoutingTable

_LISTED = 8


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


def named(table: RoutingTable, name: str) -> Target | Problem:
    """What a model's name or id means, alone (its production) or with `/<environment>`."""
    model_id = _model_named(table, name)
    if model_id is not None:
        return Target(model_id, "environment", PRODUCTION)
    of, _, environment = name.rpartition("/")
    model_id = _model_named(table, of)
    if model_id is None or not environment:
        known = _some(sorted(table.names))
        return not_found(
            f"there is no model {name!r}: write a model's name or id, or name/environment; models: {known}"
        )
    return Target(model_id, "environment", environment)


def _model_named(table: RoutingTable, name: str) -> ModelId | None:
    model_id = table.names.get(name)
    if model_id is not None:
        return model_id
    return ModelId(name) if name in table.models else None


def catalogue(table: RoutingTable) -> Iterable[tuple[str, Target]]:
    """By what names models can be called at present."""
    for model in table.models.values():
        for environment, deployment_id in sorted(model.environments.items()):
            deployment = None if deployment_id is None else table.deployments.get(deployment_id)
            if deployment is not None and not deployment.gone:
                name = model.name if environment == PRODUCTION else f"{model.name}/{environment}"
                yield name, Target(model.model_id, "environment", environment)


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


def _some(names: Iterable[str]) -> str:
    listed = tuple(names)
    more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
    return (", ".join(listed[:_LISTED]) or "none") + more
