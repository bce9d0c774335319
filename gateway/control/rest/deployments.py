"""Deployments. Where a path names one, it may also say `production` or `development`."""

from typing import Any

import msgspec
from fastapi import APIRouter, Request

from events.base import ReplicaId
from gateway.control import bodies, find, shapes
from gateway.control.errors import invalid, not_found
from gateway.control.identity import visit_of
from gateway.control.plane import Plane
from gateway.control.promotions import Wish, promote
from gateway.control.settings import changed
from gateway.control.sigv4 import presign
from gateway.control.uploads import BLOBS, PLANE_KEY_ID
from handlers.deciders.environment import ConfigureEnvironment
from handlers.deciders.model import (
    ActivateDeployment,
    DeactivateDeployment,
    DeleteDeployment,
    LabelDeployment,
    RenameDeployment,
    RetryDeployment,
)
from handlers.deciders.replica import DrainReplica
from handlers.deciders.scaling import ConfigureScaling
from projections.deployments import status
from projections.environments import PRODUCTION

ONE = "/v1/models/{model_id}/deployments/{which}"
DOWNLOAD_S = 3600
RETRYABLE = ("BUILD_FAILED", "BUILD_STOPPED", "DEPLOY_FAILED", "UNHEALTHY")


class PromoteBody(msgspec.Struct):
    scale_down_previous_production: bool = True
    preserve_env_instance_type: bool = True


class ChangeBody(msgspec.Struct):
    name: str | None = None
    labels: dict[str, Any] | None = None
    """All that it is to have."""


class DeactivateBody(msgspec.Struct):
    force: bool = False
    """Ours: also one that an environment needs."""


def install(router: APIRouter, plane: Plane) -> None:
    _reads(router, plane)
    _changes(router, plane)
    _replicas(router, plane)
    _scaling(router, plane)


def _reads(router: APIRouter, plane: Plane) -> None:
    @router.get("/v1/models/{model_id}/deployments")
    async def list_deployments(model_id: str) -> Any:
        own = find.model(plane, model_id).deployments
        found = (plane.catalogue.deployments[each] for each in own)
        return {"deployments": [shapes.deployment(plane, each) for each in found]}

    @router.get(ONE)
    async def get_deployment(model_id: str, which: str) -> Any:
        return shapes.deployment(plane, find.deployment(plane, model_id, which))

    @router.get(ONE + "/config")
    async def get_config(model_id: str, which: str, output_format: str = "both") -> Any:
        if output_format not in ("raw", "parsed", "both"):
            raise invalid(f"output_format must be raw, parsed or both, not {output_format!r}", "output_format")
        found = find.deployment(plane, model_id, which)
        config = raw = None
        if output_format != "raw":
            config = msgspec.json.decode(await plane.blobs.read(found.config))
        if output_format != "parsed" and found.raw_config is not None:
            raw = (await plane.blobs.read(found.raw_config)).decode(errors="replace")
        return {"config": config, "raw_config": raw}

    @router.get(ONE + "/download")
    async def download(model_id: str, which: str) -> Any:
        found = find.deployment(plane, model_id, which)
        key = f"{found.source.replace(':', '/')}/{found.deployment_id}.tar"
        secret = plane.uploads.secret_of(PLANE_KEY_ID)
        url = presign(f"{plane.public_url}/s3/{BLOBS}/{key}", PLANE_KEY_ID, secret, plane.now(), DOWNLOAD_S)
        return {"download_url": url}


def _changes(router: APIRouter, plane: Plane) -> None:
    @router.delete(ONE)
    async def delete(request: Request, model_id: str, which: str) -> Any:
        found = find.deployment(plane, model_id, which)
        serves = plane.environments.served_by(found.model_id, found.deployment_id)
        ids = {"model_id": found.model_id, "deployment_id": found.deployment_id}
        await visit_of(request).do(DeleteDeployment, **ids, serves=serves)
        return {"id": found.deployment_id, "deleted": True, "model_id": found.model_id}

    @router.patch(ONE)
    async def change(request: Request, model_id: str, which: str) -> Any:
        """Ours: the specification has no such route."""
        body = await bodies.decode(request, ChangeBody)
        found, visit = find.deployment(plane, model_id, which), visit_of(request)
        ids = {"model_id": found.model_id, "deployment_id": found.deployment_id}
        if body.name is not None:
            await visit.do(RenameDeployment, **ids, name=body.name)
        if body.labels is not None:
            await visit.do(LabelDeployment, **ids, labels=msgspec.json.encode(body.labels).decode())
        return shapes.deployment(plane, find.deployment(plane, model_id, found.deployment_id))

    @router.post(ONE + "/promote")
    async def promote_to_production(request: Request, model_id: str, which: str) -> Any:
        body = await bodies.decode(request, PromoteBody)
        found = find.deployment(plane, model_id, which)
        place = find.environment(plane, model_id, PRODUCTION)
        wish = Wish(
            scale_down_previous=body.scale_down_previous_production,
            preserve_instance_type=body.preserve_env_instance_type,
        )
        return shapes.deployment(plane, await promote(plane, visit_of(request), place, found, wish))

    @router.post(ONE + "/activate")
    async def activate(request: Request, model_id: str, which: str) -> Any:
        found = find.deployment(plane, model_id, which)
        ids = {"model_id": found.model_id, "deployment_id": found.deployment_id}
        await visit_of(request).do(ActivateDeployment, **ids)
        return {"success": True}

    @router.post(ONE + "/deactivate")
    async def deactivate(request: Request, model_id: str, which: str) -> Any:
        body = await bodies.decode(request, DeactivateBody)
        found = find.deployment(plane, model_id, which)
        # Who says `production` instead of an id has said what it serves.
        knows = body.force or request.query_params.get("force") == "true" or which == PRODUCTION
        serves = None if knows else plane.environments.served_by(found.model_id, found.deployment_id)
        ids = {"model_id": found.model_id, "deployment_id": found.deployment_id}
        await visit_of(request).do(DeactivateDeployment, **ids, reason="deactivated by a person", serves=serves)
        return {"success": True}

    @router.post(ONE + "/retry")
    async def retry(request: Request, model_id: str, which: str) -> Any:
        found = find.deployment(plane, model_id, which)
        now = status(found)
        if now not in RETRYABLE and now not in ("INACTIVE", "DEACTIVATING"):
            reason = f"it is {now}; only {', '.join(RETRYABLE)} can be retried"
            return {"retried": False, "reason": reason, "deployment": shapes.deployment(plane, found)}
        ids = {"model_id": found.model_id, "deployment_id": found.deployment_id}
        await visit_of(request).do(RetryDeployment, **ids)
        return {"retried": True, "reason": None, "deployment": shapes.deployment(plane, found)}


def _replicas(router: APIRouter, plane: Plane) -> None:
    @router.delete(ONE + "/replicas/{replica_id}")
    async def terminate(request: Request, model_id: str, which: str, replica_id: str) -> Any:
        found = find.deployment(plane, model_id, which)
        own = [each.replica_id for each in plane.views.fleet.state.of(found.deployment_id)]
        if replica_id not in own:
            has = f"it has {', '.join(sorted(own))}" if own else "it has none now"
            raise not_found(f"deployment {found.deployment_id} has no replica {replica_id!r}; {has}", "replica_id")
        # The target stays, so another replica is placed in its stead.
        await visit_of(request).do(DrainReplica, replica_id=ReplicaId(replica_id), reason="terminated by a person")
        return {"success": True}


def _scaling(router: APIRouter, plane: Plane) -> None:
    @router.patch(ONE + "/autoscaling_settings")
    async def configure(request: Request, model_id: str, which: str) -> Any:
        given = bodies.given(await bodies.read(request))
        found = find.deployment(plane, model_id, which)
        before = shapes.settings_of(plane, found)
        settings = changed(before, given)
        if found.is_development and settings.max_replica > 1:
            message = "a development deployment has at most one replica: its memory is what is being worked on"
            raise invalid(message, "max_replica", "push without --watch to scale it")
        visit = visit_of(request)
        places = plane.environments.of(found.model_id).values()
        own = [place.name for place in places if place.current == found.deployment_id]
        for name in own:
            # The environment's settings follow it from deployment to deployment; a reactor applies them.
            await visit.do(ConfigureEnvironment, model_id=found.model_id, environment=name, autoscaling=settings)
        if not own:
            await visit.do(ConfigureScaling, deployment_id=found.deployment_id, settings=settings, source="settings")
        if settings == before:
            return {"status": "UNCHANGED", "message": "these are the settings already"}
        where = f"environment {', '.join(own)}" if own else f"deployment {found.deployment_id}"
        return {"status": "ACCEPTED", "message": f"the settings of {where} were changed"}
