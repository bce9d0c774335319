"""Patches of a development deployment, in the shapes of the public specification."""

from typing import Any

import msgspec
from fastapi import APIRouter, Request

from gateway.control import bodies, find, patches
from gateway.control.errors import ApiError, invalid
from gateway.control.identity import visit_of
from gateway.control.plane import Plane

PATCHES = "/v1/models/{model_id}/deployments/{which}/patches"
BODY_MAX_BYTES = 32 << 20


class PointBody(msgspec.Struct):
    content_hashes: dict[str, str | None]
    config: str
    requirements: list[str] = []


class PatchBody(msgspec.Struct):
    prev_patch_hash: str
    next_patch_point: PointBody
    patch_ops: list[dict[str, Any]]


def install(router: APIRouter, plane: Plane) -> None:
    @router.post(PATCHES)
    async def stage(request: Request, model_id: str, which: str) -> Any:
        body = bodies.parse(await bodies.read(request, BODY_MAX_BYTES), PatchBody)
        found = find.deployment(plane, model_id, which)
        point = body.next_patch_point
        operations = [_operation(number, each) for number, each in enumerate(body.patch_ops)]
        to_hash = patches.content_hash(point.content_hashes)
        signature = patches.Signature(point.content_hashes, point.config, point.requirements)
        patch = patches.Patch(body.prev_patch_hash, to_hash, signature, operations)
        await patches.stage(plane, visit_of(request), found, patch)
        return {"patch_point": msgspec.to_builtins(point) | {"hash": to_hash}}

    @router.get(PATCHES + "/state")
    async def state(model_id: str, which: str) -> Any:
        found = find.deployment(plane, model_id, which)
        is_behind = bool(found.patches.chain) and not patches.is_synced(found)
        return {
            "running_patch_point": await _shown(plane, patches.running(found)),
            "pending_patch_point": await _shown(plane, patches.newest(found)) if is_behind else None,
        }

    @router.post(PATCHES + "/sync")
    async def sync(request: Request, model_id: str, which: str) -> Any:
        found = find.deployment(plane, model_id, which)
        verdict = await patches.sync(plane, visit_of(request), found)
        if verdict.failure is not None and not verdict.needs_push:
            raise ApiError(503, verdict.failure, code="patch_failed", fix="correct it and send the next patch")
        return {"needs_full_deploy_reason": verdict.failure}


async def _shown(plane: Plane, point: patches.Point) -> dict[str, Any]:
    signature = msgspec.json.decode(await plane.blobs.read(point.signature), type=patches.Signature)
    return {
        "content_hashes": signature.content_hashes_by_path,
        "config": signature.config,
        "requirements": signature.requirements_file_requirements,
        "hash": point.hash,
    }


def _operation(number: int, given: dict[str, Any]) -> patches.Operation:
    """From the specification's flat form to truss's own."""
    body = dict(given)
    kind = str(body.pop("type", ""))
    if kind == "config":
        body = {"action": "UPDATE", "path": "config.yaml", **body}
    if kind == "environment_variable":
        name = body.get("name")
        if not isinstance(name, str) or not name:
            raise invalid(f"patch_ops[{number}].name is missing: name the variable", f"patch_ops[{number}].name")
        body = {"action": body.get("action"), "item": {name: body.get("value")}}
    if kind in ("model_code", "package"):
        body = {"content": None, **body}
    if kind == "external_data" and body.get("action") == "UPDATE":
        body["action"] = "ADD"
    return patches.Operation(kind, body)
