"""How the plane is: health without a key, the rest with one; who one is; what the nodes offer."""

from typing import Any

import msgspec
from fastapi import APIRouter, Request

from gateway.control.identity import visit_of
from gateway.control.plane import TEAM_ID, TEAM_NAME, Plane
from gateway.control.resources import offered
from gateway.control.shapes import deployment
from projections.deployments import Deployment


def install(router: APIRouter, plane: Plane) -> None:
    @router.api_route("/healthz", methods=["GET", "HEAD"])
    async def health() -> Any:
        stale = plane.stale_for_s()
        answer = {"status": "ok" if stale is None else "stale", "position": plane.views.position}
        return answer | ({} if stale is None else {"stale_for_s": round(stale, 3)})

    @router.get("/v1/causeway/status")
    async def status() -> Any:
        fleet = plane.views.fleet.state
        return {
            "position": plane.views.position,
            "stale_for_s": plane.stale_for_s(),
            "nodes": [msgspec.to_builtins(node) for node in fleet.nodes.values()],
            "deployments": [_line(plane, each) for each in plane.catalogue.deployments.values()],
        }

    @router.get("/v1/instance_types")
    async def instance_types() -> Any:
        return {"instance_types": [msgspec.structs.asdict(each) for each in offered(plane.views.fleet.state)]}

    @router.get("/v1/teams")
    async def teams() -> Any:
        return {"teams": [{"id": TEAM_ID, "name": TEAM_NAME, "default": True, "created_at": "1970-01-01T00:00:00Z"}]}

    @router.get("/v1/users/me")
    async def me(request: Request) -> Any:
        key = visit_of(request).caller
        return {"user_id": key.key_id, "email": None, "name": key.name or None, "workspace_name": "causeway"}


def _line(plane: Plane, found: Deployment) -> dict[str, Any]:
    replicas = plane.views.fleet.state.of(found.deployment_id)
    return {
        **deployment(plane, found),
        "model_name": plane.catalogue.models[found.model_id].name,
        "target": found.target,
        "replicas": [msgspec.to_builtins(each) for each in replicas],
    }
