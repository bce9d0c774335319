"""`/metrics`: what Prometheus scrapes, of all gateway workers of this machine, for keys with the scope metrics.

A key for some models or environments sees only these; what concerns whole workers is in every scrape.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import Response

from events.base import DeploymentId
from gateway.control.identity import METRICS, visit_of
from gateway.control.plane import Plane
from gateway.insight.metrics import CONTENT_TYPE, exposition, family, labels
from gateway.insight.worker import Moment
from projections.access import Key
from projections.deployments import Catalogue
from projections.environments import Environments

Moments = Callable[[], Awaitable[Sequence[Moment]]]


def install(router: APIRouter, plane: Plane, moments: Moments) -> None:
    @router.get(METRICS)
    async def metrics(request: Request) -> Response:
        key = visit_of(request).caller
        seen = [seen_with(key, moment, plane.catalogue) for moment in await moments()]
        text = await asyncio.to_thread(exposition, seen)
        serving = serving_lines(key, plane.environments)
        return Response(text + serving, headers={"content-type": CONTENT_TYPE})


def serving_lines(key: Key, environments: Environments) -> bytes:
    """Which deployment serves which environment, so that what is told by deployment can be asked by environment:
    `causeway_gateway_parked_requests * on (deployment_id) group_left (environment) causeway_environment_serving`."""
    name = "causeway_environment_serving"
    lines = [family(name, "gauge", "1: the deployment is current in the environment, or being promoted to it")]
    for model_id, places in environments.models.items():
        for place in places.values():
            if (key.models and model_id not in key.models) or (key.environments and place.name not in key.environments):
                continue
            coming = place.active.deployment_id if place.active is not None else None
            for role, deployment_id in (("current", place.current), ("candidate", coming)):
                if deployment_id is not None:
                    said = labels(model_id=model_id, environment=place.name, deployment_id=deployment_id, role=role)
                    lines.append(f"{name}{{{said}}} 1\n")
    return "".join(lines).encode()


def seen_with(key: Key, moment: Moment, catalogue: Catalogue) -> Moment:
    """Of a deployment it is not known to whom its replicas serve: a key for environments sees requests only."""
    if not key.models and not key.environments:
        return moment

    def shown(deployment_id: str) -> bool:
        deployment = catalogue.deployments.get(DeploymentId(deployment_id))
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
