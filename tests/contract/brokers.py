"""A log on a real broker, and waiting for what becomes of it."""

import asyncio
from collections.abc import Callable
from typing import Any

from events.codec import Recorded
from events.log.jetstream import JetStreamLog
from tests.contract.decisions import GENEROUS_S
from tests.nats import NatsServer


async def connect(server: NatsServer, **more: Any) -> JetStreamLog:
    options: dict[str, Any] = {"create": True, "monitor_url": server.monitor_url}
    return await JetStreamLog.connect(server.url, **(options | more))


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(GENEROUS_S):
        while not holds():  # noqa: ASYNC110 - what is awaited has no event of its own
            await asyncio.sleep(0.02)


def has(seen: list[Recorded], count: int) -> bool:
    return len(seen) == count
