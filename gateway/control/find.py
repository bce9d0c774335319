"""From what a path names to what the views hold. Every miss says what there is instead."""

from events.base import DeploymentId, ModelId
from gateway.control.errors import not_found
from gateway.control.plane import Plane
from projections.deployments import Deployment, Model
from projections.environments import Environment


def model(plane: Plane, model_id: str) -> Model:
    found = plane.catalogue.models.get(ModelId(model_id))
    if found is None:
        raise not_found(f"there is no model {model_id!r}: `GET /v1/models` lists them", "model_id")
    return found


def deployment(plane: Plane, model_id: str, which: str) -> Deployment:
    """`which`: an id, `production` or `development`."""
    own = model(plane, model_id)
    if which == "production":
        return current(plane, environment(plane, model_id, which))
    if which == "development":
        slot = plane.catalogue.development_of(own.model_id)
        if slot is None:
            message = f"the model {own.name!r} has no development deployment: `truss push --watch` makes one"
            raise not_found(message, "deployment_id")
        return slot
    found = plane.catalogue.deployments.get(DeploymentId(which))
    if found is None or found.model_id != own.model_id:
        message = (
            f"the model {own.name!r} has no deployment {which!r}: `GET /v1/models/{model_id}/deployments` lists them"
        )
        raise not_found(message, "deployment_id")
    return found


def environment(plane: Plane, model_id: str, name: str) -> Environment:
    own = model(plane, model_id)
    found = plane.environments.of(own.model_id).get(name)
    if found is None:
        names = ", ".join(sorted(plane.environments.of(own.model_id)))
        raise not_found(f"the model {own.name!r} has no environment {name!r}; it has {names}", "env_name")
    return found


def current(plane: Plane, place: Environment) -> Deployment:
    found = plane.catalogue.deployments.get(place.current) if place.current is not None else None
    if found is None:
        message = f"nothing has been promoted to {place.name} yet: `truss push --environment {place.name}` does it"
        raise not_found(message, "env_name")
    return found
