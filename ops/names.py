"""Names that people use for entities, folded from the log: `iris`, `iris/deployment-2`, `iris/production`. Pure.

What was deleted keeps its name here, and what was renamed its former one: its history stays, and people ask for it by
the name that it had. Ids of what has no name (replicas, builds) are not here, there may be hundreds of thousands:
ops/whence.py looks for them in the log.
"""

from difflib import get_close_matches
from typing import Literal

import msgspec

from events.base import DeploymentId, ModelId
from events.codec import Recorded
from events.environment import EnvironmentCreated
from events.model import DeploymentPushed, DeploymentRenamed, ModelRegistered
from projections.base import Projection
from projections.environments import PRODUCTION


class UnknownName(LookupError):
    """Nothing in the log has this id or name; the message suggests what does."""


class Names(msgspec.Struct):
    models: dict[str, ModelId] = {}
    """By name; of two with one name the later."""
    deployments: dict[str, DeploymentId] = {}
    """By `model/deployment`."""
    environments: dict[str, str] = {}
    """Id of the environment's history by `model/environment`."""
    of: dict[str, str] = {}
    """Name by id."""
    former: dict[str, DeploymentId] = {}
    """As `deployments`, before they were renamed."""
    model_of: dict[DeploymentId, ModelId] = {}


def evolve(names: Names, recorded: Recorded) -> Names:
    event = recorded.event
    match event:
        case ModelRegistered():
            names.models[event.name] = event.model_id
            names.of[event.model_id] = event.name
            _environment(names, event.model_id, PRODUCTION)
        case DeploymentPushed() | DeploymentRenamed():
            before = names.of.get(event.deployment_id, "")
            if names.deployments.get(before) == event.deployment_id:
                names.former[before] = names.deployments.pop(before)
            name = f"{names.of.get(event.model_id, event.model_id)}/{event.name}"
            names.model_of[event.deployment_id] = event.model_id
            names.deployments[name] = event.deployment_id
            names.of[event.deployment_id] = name
        case EnvironmentCreated():
            _environment(names, event.model_id, event.environment)
    return names


def _environment(names: Names, model_id: ModelId, environment: str) -> None:
    name = f"{names.of.get(model_id, model_id)}/{environment}"
    names.environments[name] = f"{model_id}-{environment}"
    names.of[f"{model_id}-{environment}"] = name


def known(names: Names, text: str) -> str | None:
    """The id that this name stands for, or the id itself of what has a name."""
    if text in names.of:
        return text
    tables = (names.deployments, names.environments, names.models, names.former)
    return next((table[text] for table in tables if text in table), None)


def kind_of(names: Names, entity: str) -> Literal["model", "deployment", "environment"] | None:
    """Of an id; None for what has no name. Also of one whose name another has by now."""
    if entity in names.model_of:
        return "deployment"
    if entity not in names.of:
        return None
    return "environment" if "/" in names.of[entity] else "model"


def resolve(names: Names, text: str) -> str:
    """As `known`. Raises UnknownName."""
    found = known(names, text)
    if found is not None:
        return found
    near = similar(names, text)
    hint = f"did you mean {near}?" if near else "`causeway models` and `causeway deployments` list names"
    raise UnknownName(f"nothing is called {text!r}; {hint}")


def similar(names: Names, text: str) -> str:
    """Names that may have been meant; not ids, which nobody mistypes and recognises, and of which there are many."""
    known = [*names.models, *names.deployments, *names.environments]
    return " or ".join(get_close_matches(text, known, n=3, cutoff=0.5))


def resolve_deployment(names: Names, text: str) -> DeploymentId:
    """As `resolve`, for deployments only; a model with a single deployment stands for it."""
    if text in names.deployments:
        return names.deployments[text]
    if text in names.model_of:
        return DeploymentId(text)
    model = names.of.get(text, text)
    own = [name for name in names.deployments if name.startswith(f"{model}/")]
    if len(own) == 1:
        return names.deployments[own[0]]
    if own:
        raise UnknownName(f"{model} has {len(own)} deployments: say which of {', '.join(own)}")
    near = get_close_matches(text, list(names.deployments), n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else "`causeway deployments` lists them"
    raise UnknownName(f"there is no deployment {text!r}; {hint}")


NAMES: Projection[Names] = Projection("names", 4, Names, Names, evolve)
