"""Models, and the two ways by which a client of the REST API pushes."""

from typing import Any, Literal

import msgspec
from fastapi import APIRouter, Request

from gateway.control import find, pushes, shapes
from gateway.control.bodies import decode
from gateway.control.errors import ApiError, invalid, not_found
from gateway.control.identity import visit_of
from gateway.control.plane import TEAM_ID, Plane, Visit
from gateway.control.uploads import REGION
from handlers.deciders.model import DeleteModel, model_id_of


class DeploymentPayload(msgspec.Struct):
    config: dict[str, Any]
    raw_config: str | None = None
    user_env: dict[str, Any] | None = None
    environment_name: str | None = None
    preserve_env_instance_type: bool = True
    deploy_timeout_minutes: int | None = None
    deployment_name: str | None = None
    labels: dict[str, Any] | None = None
    is_development: bool = False


class PrepareBody(msgspec.Struct):
    deployment: DeploymentPayload
    name: str | None = None
    team_id: str | None = None
    model_id: str | None = None
    dry_run: bool = False


class Source(msgspec.Struct):
    deployment: DeploymentPayload
    s3_key: str
    kind: Literal["model_archive"] = "model_archive"


class ModelSource(Source, kw_only=True):
    name: str
    disable_archive_download: bool = False


class ModelBody(msgspec.Struct):
    source: ModelSource


class DeploymentBody(msgspec.Struct):
    source: Source


def _push(name: str, payload: DeploymentPayload) -> pushes.Push:
    if payload.is_development and (payload.environment_name or payload.deployment_name):
        message = "a development deployment has neither environment_name nor deployment_name: leave them out"
        raise invalid(message, "is_development")
    return pushes.Push(
        model_name=name,
        config=msgspec.json.encode(payload.config),
        raw_config=None if payload.raw_config is None else payload.raw_config.encode(),
        deployment_name=payload.deployment_name,
        environment=payload.environment_name,
        preserve_env_instance_type=payload.preserve_env_instance_type,
        is_development=payload.is_development,
        deploy_timeout_minutes=payload.deploy_timeout_minutes,
        labels=payload.labels,
        client=payload.user_env,
    )


def _credentials(plane: Plane) -> dict[str, Any]:
    issued = msgspec.structs.asdict(plane.uploads.issue())
    where = {name: issued.pop(name) for name in ("s3_bucket", "s3_key")}
    # Not in the specification: boto3 takes these too, and uploads to us.
    creds = issued | {"endpoint_url": f"{plane.public_url}/s3", "region_name": REGION}
    return {**where, "s3_region": REGION, "creds": creds}


async def _create(plane: Plane, visit: Visit, name: str, source: Source) -> dict[str, Any]:
    pushed = await pushes.push(plane, visit, _push(name, source.deployment), source.s3_key)
    model = plane.catalogue.models[pushed.model_id]
    return {"model": shapes.model(plane, model), "deployment": shapes.deployment(plane, pushed)}


def install(router: APIRouter, plane: Plane) -> None:
    @router.post("/v1/prepare_model_upload")
    async def prepare(request: Request) -> Any:
        body = await decode(request, PrepareBody)
        if (body.name is None) == (body.model_id is None):
            raise invalid("give either name (a new model) or model_id (a further deployment)", "name")
        if body.team_id not in (None, TEAM_ID):
            raise not_found(f"there is no team {body.team_id!r}; there is {TEAM_ID}", "team_id")
        name = body.name if body.model_id is None else find.model(plane, body.model_id).name
        await pushes.check(plane, _push(name or "", body.deployment))
        if body.dry_run:
            return {"creds": None, "s3_bucket": None, "s3_key": None, "s3_region": None}
        return _credentials(plane)

    @router.get("/v1/blobs/credentials/model")
    async def credentials() -> Any:
        return _credentials(plane)

    @router.get("/v1/models")
    async def list_models() -> Any:
        return {"models": [shapes.model(plane, each) for each in plane.catalogue.models.values()]}

    @router.post("/v1/models")
    async def create_model(request: Request) -> Any:
        source = (await decode(request, ModelBody)).source
        if source.disable_archive_download:
            pushes.refuse_no_download("disable_archive_download")
        known = plane.catalogue.models.get(model_id_of(TEAM_ID, source.name))
        if known is not None and not pushes.is_repeated(plane, known.model_id, source.s3_key):
            fix = f"push a further deployment: POST /v1/models/{known.model_id}/deployments"
            raise ApiError(
                409, f"there is a model {source.name!r} already; {fix}", code="conflict", field="name", fix=fix
            )
        return await _create(plane, visit_of(request), source.name, source)

    @router.post("/v1/models/{model_id}/deployments")
    async def create_deployment(request: Request, model_id: str) -> Any:
        source = (await decode(request, DeploymentBody)).source
        return await _create(plane, visit_of(request), find.model(plane, model_id).name, source)

    @router.get("/v1/models/{model_id}")
    async def get_model(model_id: str) -> Any:
        return shapes.model(plane, find.model(plane, model_id))

    @router.delete("/v1/models/{model_id}")
    async def delete_model(request: Request, model_id: str) -> Any:
        found = find.model(plane, model_id)
        await visit_of(request).do(DeleteModel, model_id=found.model_id)
        return {"id": found.model_id, "deleted": True}
