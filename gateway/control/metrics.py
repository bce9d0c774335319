"""`/metrics`: what Prometheus scrapes, of all gateway workers of this machine, for keys with the scope metrics."""

from collections.abc import Awaitable, Callable, Sequence

from fastapi import APIRouter, Request
from fastapi.responses import Response

from gateway.insight.metrics import exposition
from gateway.insight.worker import Moment

PATH = "/metrics"
Moments = Callable[[], Awaitable[Sequence[Moment]]]


def install(router: APIRouter, moments: Moments) -> None:
    @router.get(PATH)
    async def metrics(request: Request) -> Response:
        text, content_type = exposition(await moments(), request.headers.get("accept", ""))
        return Response(text, headers={"content-type": content_type})
