"""Receivers on real ports that behave as they are told, and check every signature."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import web
from standardwebhooks.webhooks import Webhook as Signer

Told = dict[str, Any]
Answering = Callable[[Told], Awaitable[int]]


async def fine(event: Told) -> int:
    return 200


class Receiver:
    """`answering` says what each event is answered with; it may be exchanged at any time."""

    def __init__(self, answering: Answering = fine, secret: str | None = None) -> None:
        self.answering = answering
        self.secret = secret
        self.seen: list[Told] = []
        """Every attempt, in the order in which they came."""
        self.taken: list[Told] = []
        """What was answered with 2xx."""
        self.forged = 0
        self.headers: dict[str, str] = {}
        self.url = ""
        self.at_once_most = 0
        self._at_once = 0
        self._changed = asyncio.Event()

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        event: Told = msgspec.json.decode(body)
        self._at_once += 1
        self.at_once_most = max(self.at_once_most, self._at_once)
        try:
            if self.secret is not None:
                self._check(body, dict(request.headers))
            self.seen.append(event)
            self._changed.set()
            status = await self.answering(event)
            if status < 300:
                self.taken.append(event)
                self._changed.set()
            return web.Response(status=status, text="said so", headers=self.headers)
        finally:
            self._at_once -= 1

    def _check(self, body: bytes, headers: dict[str, str]) -> None:
        assert self.secret is not None
        Signer(self.secret).verify(body, headers)

    @property
    def positions(self) -> list[int]:
        return [each["position"] for each in self.taken]

    async def until(self, ready: Callable[[], bool], deadline_s: float = 60) -> None:
        async with asyncio.timeout(deadline_s):
            while not ready():
                self._changed.clear()
                await self._changed.wait()

    def in_order(self) -> bool:
        """Each entity's events came in the order of their positions, counting each when it was first taken."""
        by_entity: dict[str, list[int]] = defaultdict(list)
        for event in self.taken:
            if event["position"] not in by_entity[event["subject"]]:
                by_entity[event["subject"]].append(event["position"])
        return all(positions == sorted(positions) for positions in by_entity.values())


@asynccontextmanager
async def listening(receiver: Receiver, port: int = 0) -> AsyncIterator[Receiver]:
    app = web.Application()
    app.router.add_post("/{path:.*}", receiver.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield receiver
    finally:
        await runner.cleanup()
