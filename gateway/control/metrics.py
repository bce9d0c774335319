"""`/metrics`: what Prometheus scrapes, of all gateway workers of this machine, for keys with the scope metrics."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from fastapi import APIRouter
from fastapi.responses import Response

from gateway.insight.metrics import CONTENT_TYPE, exposition
from gateway.insight.worker import Moment

PATH = "/metrics"
Moments = Callable[[], Awaitable[Sequence[Moment]]]


def install(router: APIRouter, moments: Moments) -> None:
    @router.get(PATH)
    async def metrics() -> Response:
        text = await asyncio.to_thread(exposition, await moments())
        return Response(text, headers={"content-type": CONTENT_TYPE})
