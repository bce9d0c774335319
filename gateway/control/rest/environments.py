"""Environments of a model: their settings, what is current there, and promotions into them."""

from typing import Any

import msgspec
from fastapi import APIRouter, Request

from events.environment import PromotionSettings, RequestLimits
from events.scaling import AutoscalingSettings
from gateway.control import bodies, find, promotion_settings, shapes
from gateway.control.errors import ApiError
from gateway.control.identity import visit_of
from gateway.control.plane import Plane, Visit
from gateway.control.previews import preview
from gateway.control.promotions import Wish, promote
from gateway.control.settings import changed, limits_with
from handlers.deciders.environment import (
    ConfigureEnvironment,
    CreateEnvironment,
    DeleteEnvironment,
    SetPromotionSettings,
    SetRequestLimits,
    check_limits,
)
from handlers.deciders.model import ActivateDeployment, DeactivateDeployment
from handlers.deciders.settings import check_promotion_settings

ONE = "/v1/models/{model_id}/environments/{env_name}"


class CreateBody(msgspec.Struct):
    name: str
    autoscaling_settings: dict[str, Any] | None = None
    promotion_settings: dict[str, Any] | None = None
    request_settings: dict[str, Any] | None = None
    """Ours: what the gateway does with requests to it."""


class UpdateBody(msgspec.Struct):
    autoscaling_settings: dict[str, Any] | None = None
    promotion_settings: dict[str, Any] | None = None
    request_settings: dict[str, Any] | None = None


class PromoteBody(msgspec.Struct):
    deployment_id: str
    scale_down_previous_deployment: bool = True
    preserve_env_instance_type: bool = True
    dry_run: bool = False
    """Ours: only say what would change."""


class _Wanted(msgspec.Struct, frozen=True):
    """The settings beside autoscaling that a body asks for, read whole before anything is written."""

    promotion: PromotionSettings
    limits: RequestLimits

    @classmethod
    def of(cls, body: CreateBody | UpdateBody, promotion: PromotionSettings, limits: RequestLimits) -> "_Wanted":
        given = body.promotion_settings or {}
        wanted = cls(promotion_settings.changed(promotion, given), limits_with(limits, body.request_settings or {}))
        check_promotion_settings(wanted.promotion)
        check_limits(wanted.limits)
        return wanted

    async def set(self, visit: Visit, ids: dict[str, Any], promotion: PromotionSettings, limits: RequestLimits) -> bool:
        """Whether there was anything to set."""
        if self.promotion != promotion:
            await visit.do(SetPromotionSettings, **ids, settings=self.promotion)
        if self.limits != limits:
            await visit.do(SetRequestLimits, **ids, limits=self.limits)
        return (self.promotion, self.limits) != (promotion, limits)


def install(router: APIRouter, plane: Plane) -> None:
    _settings(router, plane)
    _promotions(router, plane)
    _switches(router, plane)


def _settings(router: APIRouter, plane: Plane) -> None:
    @router.get("/v1/models/{model_id}/environments")
    async def list_environments(model_id: str) -> Any:
        found = plane.environments.of(find.model(plane, model_id).model_id)
        return {"environments": [shapes.environment(plane, found[name]) for name in sorted(found)]}

    @router.post("/v1/models/{model_id}/environments")
    async def create_environment(request: Request, model_id: str) -> Any:
        body = await bodies.decode(request, CreateBody)
        own, visit = find.model(plane, model_id), visit_of(request)
        ids = {"model_id": own.model_id, "environment": body.name}
        settings = changed(AutoscalingSettings(), body.autoscaling_settings or {})
        wanted = _Wanted.of(body, PromotionSettings(), RequestLimits())
        await visit.do(CreateEnvironment, **ids, autoscaling=settings)
        await wanted.set(visit, ids, PromotionSettings(), RequestLimits())
        return shapes.environment(plane, find.environment(plane, model_id, body.name))

    @router.get(ONE)
    async def get_environment(model_id: str, env_name: str) -> Any:
        return shapes.environment(plane, find.environment(plane, model_id, env_name))

    @router.delete(ONE)
    async def delete_environment(request: Request, model_id: str, env_name: str) -> Any:
        """Ours: the specification has none. Its deployments stay, and so does its history."""
        place = find.environment(plane, model_id, env_name)
        if place.active is not None:
            message = f"a promotion of deployment {place.active.deployment_id} to {place.name} is active"
            raise ApiError(409, f"{message}: cancel it first", code="conflict", field="env_name")
        await visit_of(request).do(DeleteEnvironment, model_id=place.model_id, environment=place.name)
        return {"name": place.name, "deleted": True, "model_id": place.model_id}

    @router.patch(ONE)
    async def update_environment(request: Request, model_id: str, env_name: str) -> Any:
        body = await bodies.decode(request, UpdateBody)
        place = find.environment(plane, model_id, env_name)
        ids = {"model_id": place.model_id, "environment": place.name}
        current = plane.catalogue.deployments.get(place.current) if place.current is not None else None
        before = place.autoscaling or (current.settings if current is not None else AutoscalingSettings())
        settings = changed(before, body.autoscaling_settings or {})
        wanted = _Wanted.of(body, place.promotion, place.limits)
        visit = visit_of(request)
        if body.autoscaling_settings:
            await visit.do(ConfigureEnvironment, **ids, autoscaling=settings)
        other = await wanted.set(visit, ids, place.promotion, place.limits)
        if settings == before and not other:
            return {"status": "UNCHANGED", "message": "these are the settings already"}
        return {"status": "ACCEPTED", "message": f"the settings of environment {place.name} were changed"}


def _promotions(router: APIRouter, plane: Plane) -> None:
    @router.post(ONE + "/promote")
    async def promote_to(request: Request, model_id: str, env_name: str) -> Any:
        body = await bodies.decode(request, PromoteBody)
        place = find.environment(plane, model_id, env_name)
        found = find.deployment(plane, model_id, body.deployment_id)
        wish = Wish(
            scale_down_previous=body.scale_down_previous_deployment,
            preserve_instance_type=body.preserve_env_instance_type,
        )
        if body.dry_run:
            return preview(plane, visit_of(request), place, found, wish)
        return shapes.deployment(plane, await promote(plane, visit_of(request), place, found, wish))


def _switches(router: APIRouter, plane: Plane) -> None:
    @router.post(ONE + "/activate")
    async def activate(request: Request, model_id: str, env_name: str) -> Any:
        found = find.current(plane, find.environment(plane, model_id, env_name))
        ids = {"model_id": found.model_id, "deployment_id": found.deployment_id}
        await visit_of(request).do(ActivateDeployment, **ids)
        return {"success": True}

    @router.post(ONE + "/deactivate")
    async def deactivate(request: Request, model_id: str, env_name: str) -> Any:
        found = find.current(plane, find.environment(plane, model_id, env_name))
        ids = {"model_id": found.model_id, "deployment_id": found.deployment_id}
        await visit_of(request).do(DeactivateDeployment, **ids, reason=f"{env_name} was deactivated by a person")
        return {"success": True}
