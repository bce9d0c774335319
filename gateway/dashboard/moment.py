"""Which moment a page shows, and the world as it was then. Pure."""

from collections.abc import Callable
from datetime import datetime
from urllib.parse import quote, urlencode

import msgspec

from events.base import ORIGIN, DeploymentId, ModelId, Position
from projections.deployments import Catalogue, Deployment
from projections.environments import Environments
from projections.fleet import Fleet

ROOT = "/dashboard"


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    position: Position
    head: Position
    fixed: bool
    """The position is in the URL: it does not move on."""
    at: datetime | None
    """When the event at the position happened; None before the first."""
    now: datetime
    beginning: Position = ORIGIN
    """The position before the first event that can be shown."""
    source: str = ""
    """The file that is shown; empty: a running plane."""
    stale_for_s: float | None = None
    """For how long the log has been out of reach."""
    label: Callable[[str], str] = str
    """What people call what has this id; the id itself where it has no name."""

    key_name: Callable[[str], str] = lambda key_id: ""
    """What a key is called; empty: it is revoked, or was never known."""

    @property
    def until(self) -> datetime:
        """Where pictures over time end."""
        return self.at or self.now if self.fixed else self.now

    def link(self, path: str, **query: str | int | None) -> str:
        """To another page of the same moment. What is None or empty is left out."""
        given = {name: value for name, value in query.items() if value not in (None, "")}
        if self.fixed:
            given["at"] = self.position
        return f"{ROOT}{path}" + (f"?{urlencode(given)}" if given else "")

    def then(self, path: str, position: int) -> str:
        """To a page of another moment."""
        return f"{ROOT}{path}?at={position}"


def deployment_path(deployment_id: str, below: str = "") -> str:
    return f"/deployments/{quote(deployment_id, safe='')}{below}"


def environment_path(model_id: str, name: str) -> str:
    return f"/environments/{quote(model_id, safe='')}/{quote(name, safe='')}"


def weights_path(manifest_id: str) -> str:
    return f"/weights/{quote(manifest_id, safe='')}"


class World(msgspec.Struct, frozen=True):
    catalogue: Catalogue
    environments: Environments
    fleet: Fleet

    def name(self, deployment_id: DeploymentId | None) -> str:
        """`iris/deployment-2`; the id where the deployment is gone."""
        found = self.catalogue.deployments.get(deployment_id) if deployment_id is not None else None
        return str(deployment_id) if found is None else f"{self.model_name(found.model_id)}/{found.name}"

    def model_name(self, model_id: ModelId) -> str:
        model = self.catalogue.models.get(model_id)
        return model_id if model is None else model.name

    def label(self, entity: str) -> str:
        """The name of a model, a deployment, an environment or a replica; the id of anything else."""
        models, deployments = self.catalogue.models, self.catalogue.deployments
        if ModelId(entity) in models:
            return models[ModelId(entity)].name
        if DeploymentId(entity) in deployments:
            return self.name(DeploymentId(entity))
        head, dash, last = entity.rpartition("-")
        if dash and last.isdecimal() and DeploymentId(head) in deployments:
            return f"{self.name(DeploymentId(head))}-{last}"
        model_id, dash, environment = entity.partition("-")
        return f"{models[ModelId(model_id)].name}/{environment}" if dash and ModelId(model_id) in models else entity

    def id_of(self, text: str) -> str:
        """The id of what is called so, as `label` says it; other text stays."""
        deployments = self.catalogue.deployments
        for model_id, model in self.catalogue.models.items():
            if text == model.name:
                return model_id
            if text.startswith(f"{model.name}/"):
                rest = text.removeprefix(f"{model.name}/")
                if rest in self.environments.of(model_id):
                    return f"{model_id}-{rest}"
                for deployment in (deployments[each] for each in model.deployments if each in deployments):
                    if rest == deployment.name:
                        return deployment.deployment_id
                    if rest.startswith(f"{deployment.name}-"):
                        ordinal = rest.removeprefix(f"{deployment.name}-")
                        if ordinal.isdecimal():
                            return f"{deployment.deployment_id}-{ordinal}"
        return text

    def serves(self, deployment: Deployment) -> tuple[str, ...]:
        """The environments where it is current."""
        places = self.environments.of(deployment.model_id).values()
        return tuple(sorted(place.name for place in places if place.current == deployment.deployment_id))
