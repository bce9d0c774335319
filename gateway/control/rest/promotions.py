"""What a person does with the promotion that is going on in an environment."""

from typing import Any

import msgspec
from fastapi import APIRouter, Request

from gateway.control import bodies, find
from gateway.control.identity import visit_of
from gateway.control.plane import Plane
from handlers.base import Refused
from handlers.deciders.promotion_commands import (
    CancelPromotion,
    PausePromotion,
    ResumePromotion,
    RollForward,
    SetCanaryWeight,
)
from projections.environments import Environment

ONE = "/v1/models/{model_id}/environments/{env_name}"


class WeightBody(msgspec.Struct):
    percent: int


def install(router: APIRouter, plane: Plane) -> None:
    _cancels(router, plane)
    _steers(router, plane)


def _ids(place: Environment) -> dict[str, Any]:
    return {"model_id": place.model_id, "environment": place.name}


def _cancels(router: APIRouter, plane: Plane) -> None:
    @router.post(ONE + "/cancel_promotion")
    async def cancel(request: Request, model_id: str, env_name: str) -> Any:
        place = find.environment(plane, model_id, env_name)
        await visit_of(request).do(CancelPromotion, **_ids(place), reason="cancelled by a person")
        if find.environment(plane, model_id, env_name).active is not None:
            message = f"the promotion to {place.name} goes back as the current deployment gets its replicas back"
            return {"status": "RAMPING_DOWN", "message": message}
        return {"status": "CANCELED", "message": f"the promotion to {place.name} was cancelled"}

    @router.post(ONE + "/force_cancel_promotion")
    async def force_cancel(request: Request, model_id: str, env_name: str) -> Any:
        place = find.environment(plane, model_id, env_name)
        await visit_of(request).do(CancelPromotion, **_ids(place), reason="cancelled by a person, by force", force=True)
        return {"success": True}


def _steers(router: APIRouter, plane: Plane) -> None:
    @router.post(ONE + "/pause_promotion")
    async def pause(request: Request, model_id: str, env_name: str) -> Any:
        await visit_of(request).do(PausePromotion, **_ids(find.environment(plane, model_id, env_name)))
        return {"success": True}

    @router.post(ONE + "/resume_promotion")
    async def resume(request: Request, model_id: str, env_name: str) -> Any:
        await visit_of(request).do(ResumePromotion, **_ids(find.environment(plane, model_id, env_name)))
        return {"success": True}

    @router.post(ONE + "/force_roll_forward_promotion")
    async def roll_forward(request: Request, model_id: str, env_name: str) -> Any:
        place = find.environment(plane, model_id, env_name)
        candidate = plane.catalogue.deployments.get(place.active.deployment_id) if place.active is not None else None
        ready = candidate.count("ready") if candidate is not None else 0
        await visit_of(request).do(RollForward, **_ids(place), candidate_ready=ready)
        return {"success": True}

    @router.post(ONE + "/set_canary_weight")
    async def weigh(request: Request, model_id: str, env_name: str) -> Any:
        """Ours: the candidate gets this share of the traffic until somebody resumes."""
        body = await bodies.decode(request, WeightBody)
        place = find.environment(plane, model_id, env_name)
        if place.active is not None and body.percent > 0:
            candidate = plane.catalogue.deployments.get(place.active.deployment_id)
            if candidate is None or candidate.count("ready") == 0:
                message = f"no replica of deployment {place.active.deployment_id} is ready, so nothing could answer"
                raise Refused("precondition", f"{message}: wait for one", "percent")
        await visit_of(request).do(SetCanaryWeight, **_ids(place), percent=body.percent)
        return {"success": True}
