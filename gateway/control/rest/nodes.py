"""Ours: a node that is to leave on purpose."""

from typing import Any

import msgspec
from fastapi import APIRouter, Request

from events.base import NodeId
from gateway.control import bodies
from gateway.control.errors import ApiError
from gateway.control.identity import visit_of
from gateway.control.plane import Plane
from handlers.deciders.node import DrainNode
from handlers.deciders.replica import DrainReplica


class DrainBody(msgspec.Struct):
    reason: str = "asked for"
    now: bool = False
    """Drain its replicas at once, replaced or not."""


def install(router: APIRouter, plane: Plane) -> None:
    @router.post("/v1/nodes/{node_id}/drain")
    async def drain(request: Request, node_id: str) -> Any:
        """It takes no new replica; those that it has are replaced elsewhere and drained, and then it leaves."""
        body = await bodies.decode(request, DrainBody)
        visit, fleet = visit_of(request), plane.views.fleet.state
        drained = {"node_id": NodeId(node_id), "reason": body.reason}
        visit.foretell(DrainNode, **drained)
        own = [each for each in fleet.replicas.values() if each.node_id == node_id and not each.draining]
        if own and not body.now and not _others_up(plane, node_id):
            message = f"no other node is up, so its {len(own)} replicas have nowhere to go"
            fix = f"start another node first, or stop them: causeway node drain {node_id} --now"
            raise ApiError(409, message, code="precondition", field="node_id", fix=fix)
        await visit.do(DrainNode, **drained)
        if body.now:
            for each in own:
                await visit.do(DrainReplica, replica_id=each.replica_id, reason=f"node {node_id} drains")
        return {"node_id": node_id, "status": "draining", "replicas": [each.replica_id for each in own]}


def _others_up(plane: Plane, node_id: str) -> bool:
    nodes = plane.views.fleet.state.nodes.values()
    return any(each.status == "up" and each.node_id != node_id for each in nodes)
