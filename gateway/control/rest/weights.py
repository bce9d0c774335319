"""Ours: weights that nodes shall have before a replica needs them.

A wish is for one manifest on one node; what is asked for a deployment is asked for all that it mounts.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
from fastapi import APIRouter, Request

from events.base import DeploymentId, NodeId
from events.weights import ManifestId
from gateway.control import bodies
from gateway.control.errors import ApiError, invalid, not_found
from gateway.control.identity import visit_of
from gateway.control.plane import Plane
from handlers.deciders.node import PrefetchWeights, WithdrawPrefetch


class PrefetchBody(msgspec.Struct):
    manifest_id: ManifestId | None = None
    deployment_id: DeploymentId | None = None
    node_ids: list[NodeId] | None = None
    """None: every node that takes replicas; to withdraw, every node that has the wish."""


def install(router: APIRouter, plane: Plane) -> None:
    @router.get("/v1/causeway/weights/prefetches")
    async def prefetches() -> Any:
        return {"prefetches": list(_shown(plane))}

    @router.post("/v1/causeway/weights/prefetches")
    async def prefetch(request: Request) -> Any:
        body = await bodies.decode(request, PrefetchBody)
        manifests = _manifests(plane, body)
        up = [node.node_id for node in plane.views.fleet.state.nodes.values() if node.status == "up"]
        # Who is refused comes first: either all that was asked for is wished for, or nothing.
        nodes = up if body.node_ids is None else sorted(body.node_ids, key=lambda each: each in up)
        if not nodes:
            message = "no node is named, or none takes weights now: `GET /v1/causeway/status` lists all of them"
            raise ApiError(409, message, code="precondition", field="node_ids")
        visit = visit_of(request)
        wishes = [
            {"node_id": node_id, "manifest_id": manifest_id, "position": outcome.position}
            for manifest_id in manifests
            for node_id in nodes
            for outcome in [await visit.do(PrefetchWeights, node_id=node_id, manifest_id=manifest_id)]
        ]
        return {"prefetches": wishes}

    @router.post("/v1/causeway/weights/prefetches/withdraw")
    async def withdraw(request: Request) -> Any:
        body = await bodies.decode(request, PrefetchBody)
        manifests = _manifests(plane, body)
        ended = [
            {"node_id": each["node_id"], "manifest_id": each["manifest_id"]}
            for each in list(_shown(plane))
            if each["manifest_id"] in manifests and (body.node_ids is None or each["node_id"] in body.node_ids)
        ]
        visit = visit_of(request)
        for each in ended:
            await visit.do(WithdrawPrefetch, **each)
        return {"withdrawn": ended}


def _manifests(plane: Plane, body: PrefetchBody) -> tuple[ManifestId, ...]:
    state = plane.views.weights.state
    if (body.manifest_id is None) == (body.deployment_id is None):
        raise invalid("name either a manifest_id or a deployment_id", "manifest_id")
    if body.manifest_id is not None:
        if body.manifest_id not in state.mirrored:
            message = f"nothing was ever mirrored under manifest {body.manifest_id}: `causeway weights ls` lists them"
            raise not_found(message, "manifest_id")
        return (body.manifest_id,)
    assert body.deployment_id is not None
    if body.deployment_id not in state.model_of:
        raise not_found(f"there is no deployment {body.deployment_id}", "deployment_id")
    mounts = state.mounts.get(body.deployment_id, ())
    if not mounts:
        message = f"deployment {body.deployment_id} mounts no weights, or its build has not ended"
        raise ApiError(409, message, code="precondition", field="deployment_id")
    return tuple(dict.fromkeys(mount.manifest_id for mount in mounts))


def _shown(plane: Plane) -> Iterator[dict[str, Any]]:
    for node in plane.views.fleet.state.nodes.values():
        for manifest_id, wish in node.prefetches.items():
            yield {
                "node_id": node.node_id,
                "manifest_id": manifest_id,
                "position": wish.position,
                "waits": wish.waits or None,
            }
