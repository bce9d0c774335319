"""`/metrics`: what Prometheus scrapes, of all gateway workers of this machine, for keys with the scope metrics.

It stands before the control API and needs nothing of it, so that a scrape does not load that into every worker. A key
for some models or environments sees only these; what concerns whole workers is in every scrape.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from events.base import DeploymentId
from gateway.insight.metrics import CONTENT_TYPE, exposition, family, labels
from gateway.insight.worker import Moment
from gateway.keys import CHALLENGE, HOW, KeyRefused, check
from projections.access import Access, Key
from projections.routing import RoutingTable
from projections.view import View

PATH = "/metrics"
App = Callable[[Any, Any, Any], Awaitable[None]]
Moments = Callable[[], Awaitable[Sequence[Moment]]]
Headers = tuple[tuple[str, str], ...]


class Scrape:
    """An ASGI application that answers this path by itself, and leaves all others to `app`."""

    def __init__(self, app: App, access: View[Access], routing: View[RoutingTable], moments: Moments) -> None:
        self._app, self._access, self._routing, self._moments = app, access, routing, moments

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] != PATH:
            await self._app(scope, receive, send)
            return
        status, headers, body = await self._answer(scope)
        said = (*headers, ("content-length", str(len(body))))
        lines = [(name.encode(), value.encode("latin-1")) for name, value in said]
        await send({"type": "http.response.start", "status": status, "headers": lines})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _answer(self, scope: Any) -> tuple[int, Headers, bytes]:
        authorization = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
        try:
            key = check(self._access.state, authorization, "metrics")
        except KeyRefused as refused:
            code = "unauthorized" if refused.status == 401 else "forbidden"
            headers = (CHALLENGE,) if refused.status == 401 else ()
            return _refusal(refused.status, {"message": refused.reason, "code": code, "fix": HOW}, headers)
        if scope["method"] not in ("GET", "HEAD"):
            return _refusal(405, {"message": f"{PATH} is read with GET"}, (("allow", "GET, HEAD"),))
        table = self._routing.state
        seen = [seen_with(key, moment, table) for moment in await self._moments()]
        serving = serving_lines(key, table)
        return 200, (("content-type", CONTENT_TYPE),), await asyncio.to_thread(exposition, seen) + serving


def _refusal(status: int, why: dict[str, str], headers: Headers) -> tuple[int, Headers, bytes]:
    return status, (("content-type", "application/json"), *headers), msgspec.json.encode(why)


def seen_with(key: Key, moment: Moment, table: RoutingTable) -> Moment:
    """Of a deployment it is not known to whom its replicas serve: a key for environments sees requests only."""
    if not key.models and not key.environments:
        return moment

    def shown(deployment_id: str) -> bool:
        deployment = table.deployments.get(DeploymentId(deployment_id))
        return not key.environments and deployment is not None and deployment.model_id in key.models

    return msgspec.structs.replace(
        moment,
        deployments={each: busy for each, busy in moment.deployments.items() if shown(each)},
        replicas={each: count for each, count in moment.replicas.items() if shown(each)},
        series=[
            each
            for each in moment.series
            if (not key.models or each.model_id in key.models)
            and (not key.environments or each.environment in key.environments)
        ],
    )


def serving_lines(key: Key, table: RoutingTable) -> bytes:
    """Which deployment serves which environment, so that what is told by deployment can be asked by environment:
    `causeway_gateway_parked_requests * on (deployment_id) group_left (environment) causeway_environment_serving`."""
    name = "causeway_environment_serving"
    lines = [family(name, "gauge", "1: the deployment is current in the environment, or being promoted to it")]
    for model_id, model in table.models.items():
        if key.models and model_id not in key.models:
            continue
        coming = [("candidate", place, each.deployment_id) for place, each in model.candidates.items() if each.promoted]
        for role, place, deployment_id in (*(("current", *each) for each in model.environments.items()), *coming):
            if deployment_id is not None and (not key.environments or place in key.environments):
                said = labels(model_id=model_id, environment=place, deployment_id=deployment_id, role=role)
                lines.append(f"{name}{{{said}}} 1\n")
    return "".join(lines).encode()
