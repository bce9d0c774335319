"""Ours: an environment as it was after a position, deployment and settings together, by one decision.

What it was is folded from its own history; the settings that were in force without having been set for the
environment are those of the deployment that was current.
"""

from collections.abc import Sequence
from functools import reduce
from typing import Any

import msgspec
from fastapi import APIRouter, Request

from events.base import DeploymentId, Position, StreamName
from events.codec import Recorded
from events.environment import PromotionSettings, RequestLimits
from events.scaling import AutoscalingSettings
from gateway.control import bodies, find, promotion_settings, pushes
from gateway.control.errors import ApiError, invalid
from gateway.control.identity import visit_of
from gateway.control.plane import Plane
from gateway.control.promotions import replicas_needed
from gateway.control.settings import shown
from handlers.deciders.environment import ENVIRONMENT, RevertEnvironment
from handlers.deciders.model import ActivateDeployment
from handlers.deciders.scaling import SCALING
from projections.deployments import Deployment
from projections.environments import PRODUCTION, Environment


class RevertBody(msgspec.Struct):
    to_position: int
    dry_run: bool = False


class State(msgspec.Struct, frozen=True):
    """What an environment is, or was."""

    deployment: Deployment | None
    autoscaling: AutoscalingSettings
    promotion: PromotionSettings
    limits: RequestLimits


def install(router: APIRouter, plane: Plane) -> None:
    @router.post("/v1/models/{model_id}/environments/{env_name}/revert")
    async def revert(request: Request, model_id: str, env_name: str) -> Any:
        body = await bodies.decode(request, RevertBody)
        place = find.environment(plane, model_id, env_name)
        found, then = await _then(plane, place, body.to_position)
        fields = _fields(plane, place, found, then, Position(body.to_position))
        visit = visit_of(request)
        visit.foretell(RevertEnvironment, **fields)  # A dry run is refused what would be refused.
        answer = {
            "to_position": body.to_position,
            "dry_run": body.dry_run,
            "promotes": found.deployment_id != place.current,
            "before": _settings(_now(plane, place)),
            "after": _settings(then),
        }
        if not body.dry_run:
            if found.phase == "inactive":
                await visit.do(ActivateDeployment, model_id=found.model_id, deployment_id=found.deployment_id)
            await visit.do(RevertEnvironment, **fields)
        return answer


def _fields(plane: Plane, place: Environment, found: Deployment, then: State, position: Position) -> dict[str, Any]:
    return {
        "model_id": place.model_id,
        "environment": place.name,
        "to_position": position,
        "deployment_id": found.deployment_id,
        "autoscaling": then.autoscaling,
        "promotion": then.promotion,
        "limits": then.limits,
        "wanted_replicas": replicas_needed(plane, place),
        "deadline_s": found.deploy_timeout_s or pushes.DEPLOY_TIMEOUT_S,
    }


async def _then(plane: Plane, place: Environment, position: int) -> tuple[Deployment, State]:
    head = plane.views.position
    if not 0 < position <= head:
        raise invalid(f"to_position must be from 1 to {head}, where the log ends, not {position}", "to_position")
    stream = StreamName("environment", f"{place.model_id}-{place.name}")
    events = await plane.history(stream, Position(position))
    state = _folded(ENVIRONMENT.evolve, ENVIRONMENT.initial, events)
    if not state.exists and place.name != PRODUCTION:
        raise invalid(f"there was no environment {place.name} at position {position}", "to_position")
    if state.current is None:
        message = f"nothing was current in {place.name} at position {position}"
        raise invalid(f"{message}: `causeway env log` shows since when there has been", "to_position")
    found = _still_there(plane, place, state.current)
    autoscaling = state.autoscaling
    if autoscaling is None:
        scaling = await plane.history(StreamName("scaling", state.current), Position(position))
        autoscaling = _folded(SCALING.evolve, SCALING.initial, scaling).settings
    return found, State(found, autoscaling, state.settings, state.limits)


def _folded(evolve: Any, initial: Any, events: Sequence[Recorded]) -> Any:
    return reduce(evolve, (recorded.event for recorded in events), initial)


def _still_there(plane: Plane, place: Environment, deployment_id: DeploymentId) -> Deployment:
    found = plane.catalogue.deployments.get(deployment_id)
    if found is None or found.model_id != place.model_id:
        message = f"deployment {deployment_id}, which was current then, has been deleted since"
        raise ApiError(409, f"{message}: it cannot come back", code="precondition", field="to_position")
    elsewhere = plane.environments.served_by(place.model_id, deployment_id)
    if elsewhere not in (None, place.name) and place.current != deployment_id:
        message = f"deployment {deployment_id}, which was current then, serves {elsewhere} now"
        fix = f"promote it, which makes a copy: causeway promote {deployment_id} --environment {place.name}"
        raise ApiError(409, message, code="precondition", field="to_position", fix=fix)
    return found


def _now(plane: Plane, place: Environment) -> State:
    current = plane.catalogue.deployments.get(place.current) if place.current is not None else None
    own = current.settings if current is not None else AutoscalingSettings()
    return State(current, place.autoscaling or own, place.promotion, place.limits)


def _settings(state: State) -> dict[str, Any]:
    return {
        "deployment_id": state.deployment.deployment_id if state.deployment is not None else None,
        "deployment": state.deployment.name if state.deployment is not None else None,
        "autoscaling_settings": shown(state.autoscaling),
        "promotion_settings": promotion_settings.shown(state.promotion),
        "request_settings": msgspec.structs.asdict(state.limits),
    }
