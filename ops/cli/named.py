"""From the name that a person types to the path that the API knows. What was deleted keeps its name."""

import msgspec

from events.base import DeploymentId, ModelId, Position
from events.log import Log
from ops.cli.session import Session
from ops.names import NAMES, Names, UnknownName, resolve_deployment
from ops.replay import state_at
from projections.environments import PRODUCTION


class NamedDeployment(msgspec.Struct, frozen=True):
    name: str
    """`iris/deployment-2`."""
    model_id: ModelId
    deployment_id: DeploymentId
    head: Position
    """Where the log ended when the name was looked up."""

    @property
    def path(self) -> str:
        return f"/v1/models/{self.model_id}/deployments/{self.deployment_id}"


class NamedEnvironment(msgspec.Struct, frozen=True):
    name: str
    """`iris/staging`."""
    model_id: ModelId
    environment: str
    head: Position

    @property
    def path(self) -> str:
        return f"/v1/models/{self.model_id}/environments/{self.environment}"


def deployment_named(session: Session, text: str) -> NamedDeployment:
    """Raises UnknownName."""
    names, head = session.with_log(names_and_head)
    deployment_id = resolve_deployment(names, text)
    name = names.of[deployment_id]
    return NamedDeployment(name, names.models[name.rpartition("/")[0]], deployment_id, head)


def environment_named(session: Session, text: str) -> NamedEnvironment:
    """`iris/staging`; `iris` alone stands for `iris/production`. Raises UnknownName."""
    names, head = session.with_log(names_and_head)
    whole = f"{text}/{PRODUCTION}" if text in names.models else names.of.get(text, text)
    if whole not in names.environments:
        known = ", ".join(sorted(names.environments)) or "none yet"
        raise UnknownName(f"there is no environment {text!r}: write MODEL/ENVIRONMENT; there are {known}")
    model_id, _, environment = names.environments[whole].partition("-")
    return NamedEnvironment(whole, ModelId(model_id), environment, head)


def model_named(session: Session, text: str) -> tuple[str, ModelId]:
    """Its name and its id. Raises UnknownName."""
    names, _ = session.with_log(names_and_head)
    found = names.models.get(text)
    if found is None and text in names.models.values():
        return names.of[text], ModelId(text)
    if found is None:
        raise UnknownName(f"there is no model {text!r}; there are {', '.join(sorted(names.models)) or 'none yet'}")
    return text, found


async def names_and_head(log: Log) -> tuple[Names, Position]:
    head = await log.head()
    return await state_at(log, NAMES, head), head
