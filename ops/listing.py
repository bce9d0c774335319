"""What there is: models, deployments and environments as rows, at any moment of the log."""

from collections.abc import Iterable

import msgspec

from events.base import Position
from events.log import Log
from events.scaling import AutoscalingSettings
from ops.moments import Moment
from ops.names import NAMES, UnknownName, resolve
from ops.replay import position_of, state_at
from projections.deployments import DEPLOYMENTS, Catalogue, Deployment, Model, status
from projections.environments import ENVIRONMENTS, PRODUCTION, Environment, Environments


class DeploymentRow(msgspec.Struct, frozen=True):
    name: str
    """`model/deployment`."""
    deployment_id: str
    model_id: str
    status: str
    reason: str
    reason_position: Position
    ready: int
    target: int
    max_replica: int
    environments: tuple[str, ...]
    """Where it is current."""
    created_at: str


class ModelRow(msgspec.Struct, frozen=True):
    name: str
    model_id: str
    deployments: int
    production: str | None
    """Name of the deployment that is current there."""
    production_status: str | None
    created_at: str


class EnvironmentRow(msgspec.Struct, frozen=True):
    name: str
    """`model/environment`."""
    model_id: str
    current: str | None
    promoting: str | None
    """The deployment of the active promotion."""
    status: str | None
    percent: int
    """Of the traffic that the promoted one gets."""
    last_result: str
    autoscaling: AutoscalingSettings | None


class Inventory(msgspec.Struct, frozen=True):
    """All rows as of one position."""

    position: Position
    models: tuple[ModelRow, ...]
    deployments: tuple[DeploymentRow, ...]
    environments: tuple[EnvironmentRow, ...]


async def inventory(log: Log, moment: Moment = None, model: str | None = None) -> Inventory:
    """Of one model or of all. Raises UnknownName, NoSuchPosition."""
    position = await position_of(log, moment)
    catalogue = await state_at(log, DEPLOYMENTS, position)
    environments = await state_at(log, ENVIRONMENTS, position)
    models = sorted(catalogue.models.values(), key=lambda each: each.name)
    if model is not None:
        model_id = resolve(await state_at(log, NAMES, position), model)
        models = [each for each in models if each.model_id == model_id]
        if not models:
            raise UnknownName(f"there is no model {model!r} at position {position}; `causeway models` lists them")
    return Inventory(
        position,
        tuple(_model_row(catalogue, environments, each) for each in models),
        tuple(row for each in models for row in _deployment_rows(catalogue, environments, each)),
        tuple(row for each in models for row in _environment_rows(catalogue, environments, each)),
    )


def _model_row(catalogue: Catalogue, environments: Environments, model: Model) -> ModelRow:
    production = environments.of(model.model_id).get(PRODUCTION)
    current = catalogue.deployments.get(production.current) if production and production.current else None
    return ModelRow(
        model.name,
        model.model_id,
        len(model.deployments),
        current.name if current else None,
        status(current) if current else None,
        model.created_at,
    )


def _deployment_rows(catalogue: Catalogue, environments: Environments, model: Model) -> Iterable[DeploymentRow]:
    for deployment_id in model.deployments:
        deployment = catalogue.deployments[deployment_id]
        places = environments.of(model.model_id).values()
        yield DeploymentRow(
            f"{model.name}/{deployment.name}",
            deployment_id,
            model.model_id,
            status(deployment),
            deployment.reason,
            deployment.reason_position,
            deployment.count("ready"),
            deployment.target,
            deployment.settings.max_replica,
            tuple(each.name for each in places if each.current == deployment_id),
            deployment.created_at,
        )


def _environment_rows(catalogue: Catalogue, environments: Environments, model: Model) -> Iterable[EnvironmentRow]:
    def name(deployment: Deployment | None) -> str | None:
        return deployment.name if deployment is not None else None

    def row(place: Environment) -> EnvironmentRow:
        current = catalogue.deployments.get(place.current) if place.current is not None else None
        active = catalogue.deployments.get(place.active.deployment_id) if place.active is not None else None
        return EnvironmentRow(
            f"{model.name}/{place.name}",
            model.model_id,
            name(current),
            name(active),
            place.progress.status if place.active is not None and place.progress is not None else None,
            place.progress.percent if place.progress is not None else 0,
            place.last_result,
            place.autoscaling,
        )

    return map(row, environments.of(model.model_id).values())
