"""A promotion as a person asks for it: of the deployment itself, or of a copy that runs the same build.

A copy is made where the same replicas cannot do: the deployment is current in another environment already (whose
settings and fate are its own), the environment keeps its instance type and the deployment has another, or the
environment wants a deployment of its own for each promotion. Nothing is built again for it.
"""

from typing import Any

import msgspec

from events.base import DeploymentId, derive
from events.environment import Cleanup, PromotionStarted
from gateway.control import pushes
from gateway.control.errors import ApiError
from gateway.control.plane import TEAM_ID, Plane, Visit
from gateway.control.resources import Resources, type_of
from handlers.deciders.model import ActivateDeployment, PushDeployment
from handlers.deciders.promotion_commands import StartPromotion
from handlers.rollout import in_use
from projections.deployments import Deployment
from projections.environments import Environment


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    scale_down_previous: bool = True
    preserve_instance_type: bool = True


class Copy(msgspec.Struct, frozen=True):
    """Of a deployment, for an environment."""

    reason: str
    resources: Resources


async def promote(plane: Plane, visit: Visit, place: Environment, found: Deployment, wish: Wish) -> Deployment:
    """What is being promoted: the deployment, or its copy. A development one is refused by the decider, with what to
    do instead; a deactivated one is activated first."""
    copy = copy_needed(plane, place, found, wish)
    if copy is not None:
        return await _promote_copy(plane, visit, place, found, wish, copy)
    if found.phase == "inactive" and not found.is_development:
        await visit.do(ActivateDeployment, model_id=found.model_id, deployment_id=found.deployment_id)
    await visit.do(StartPromotion, **_start(plane, place, found, wish))
    return found


def foretell(plane: Plane, visit: Visit, place: Environment, found: Deployment, wish: Wish) -> PromotionStarted | None:
    """The promotion that would begin: of the deployment, or in its stead of a copy. None: it is current already."""
    events = visit.foretell(StartPromotion, **_start(plane, place, found, wish))
    return next((each for each in events if isinstance(each, PromotionStarted)), None)


def _start(plane: Plane, place: Environment, found: Deployment, wish: Wish) -> dict[str, Any]:
    cleanup: Cleanup | None = None if wish.scale_down_previous else "KEEP"
    return {
        "model_id": found.model_id,
        "environment": place.name,
        "deployment_id": found.deployment_id,
        "is_development": found.is_development,
        "wanted_replicas": replicas_needed(plane, place),
        "cleanup": cleanup,
        "deadline_s": found.deploy_timeout_s or pushes.DEPLOY_TIMEOUT_S,
    }


def replicas_needed(plane: Plane, place: Environment) -> int:
    """What the environment uses now, also where some of it is not ready."""
    current = _current(plane, place)
    if current is None or current.phase != "active":
        return 1
    return in_use(current.target, current.count("ready"))


def copy_needed(plane: Plane, place: Environment, found: Deployment, wish: Wish) -> Copy | None:
    if found.is_development or place.current == found.deployment_id:
        return None
    own, current = Resources(found.cpu_millicores, found.memory_bytes), _current(plane, place)
    kept = Resources(current.cpu_millicores, current.memory_bytes) if current is not None else own
    if wish.preserve_instance_type and kept != own:
        types = [type_of(each.cpu_millicores, each.memory_bytes).name for each in (kept, own)]
        return Copy(f"{place.name} keeps its instance type {types[0]}, and {found.name} has {types[1]}", kept)
    if place.promotion.redeploy_on_promotion:
        return Copy(f"{place.name} takes a copy for each promotion", kept if wish.preserve_instance_type else own)
    elsewhere = plane.environments.served_by(found.model_id, found.deployment_id)
    if elsewhere is not None and elsewhere != place.name:
        return Copy(f"{found.name} serves {elsewhere} already", own)
    return None


async def _promote_copy(
    plane: Plane, visit: Visit, place: Environment, found: Deployment, wish: Wish, copy: Copy
) -> Deployment:
    """Promoted as any push to the environment is, once its replicas can be started."""
    if place.active is not None:
        message = f"a promotion of deployment {place.active.deployment_id} to {place.name} is active"
        raise ApiError(409, f"{message}: wait for it or cancel it", code="conflict", field="environment")
    command_id = derive("copy", visit.id, found.deployment_id, place.name, length=24)
    await visit.do(
        PushDeployment,
        once=command_id,
        model_id=found.model_id,
        model_name=plane.catalogue.models[found.model_id].name,
        team=TEAM_ID,
        name=None,
        is_development=False,
        source=found.source,
        config=found.config,
        raw_config=found.raw_config,
        environment=place.name,
        scale_down_previous=wish.scale_down_previous,
        cpu_millicores=copy.resources.cpu_millicores,
        memory_bytes=copy.resources.memory_bytes,
        predict_concurrency=found.predict_concurrency,
        deploy_timeout_s=found.deploy_timeout_s,
        labels=found.labels,
        client="{}",
        copy_of=found.deployment_id,
        copy_reason=copy.reason,
    )
    return plane.catalogue.deployments[DeploymentId(derive("deployment", command_id))]


def _current(plane: Plane, place: Environment) -> Deployment | None:
    return plane.catalogue.deployments.get(place.current) if place.current is not None else None
