"""The real worker over the log in memory, with the real poster; receivers are on loopback."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from random import Random
from typing import Any

from events.base import (
    Actor,
    CommandId,
    CorrelationId,
    EventId,
    Metadata,
    NodeId,
    Position,
    StreamName,
    WebhookId,
)
from events.log import Log
from events.log.memory import MemoryLog
from events.node import NodeDraining
from events.signals.deliveries import Deliveries, MemoryDeliveries
from gateway.secrets import SecretFiles
from gateway.webhooks.lanes import Policy
from gateway.webhooks.post import Poster
from gateway.webhooks.targets import Network, Targets
from gateway.webhooks.worker import Worker
from handlers.base import Command
from handlers.clock import SystemClock
from handlers.deciders.webhook import RegisterWebhook
from handlers.decisions import DECISIONS
from handlers.dispatch import Dispatch
from projections.follow import Follower
from projections.view import View
from projections.webhooks import WEBHOOKS, Webhook

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
LOOPBACK = (ip_network("127.0.0.0/8"),)
QUICK = Policy(
    attempts_max=3, first_pause_s=0.02, pause_max_s=0.1, away_pause_max_s=0.1, deadline_s=60, concurrency=4, window=60
)


class Plant:
    def __init__(
        self, state: Path, *, log: Log | None = None, deliveries: Deliveries | None = None,
        policy: Policy = QUICK, allowed: Sequence[Network] = LOOPBACK,
    ) -> None:  # fmt: skip
        self.log = log or MemoryLog()
        self.deliveries = deliveries or MemoryDeliveries()
        self.view = View(WEBHOOKS)
        decisions = View(DECISIONS)
        self._follower = Follower(self.log, (decisions, self.view))
        self.dispatch = Dispatch(self.log, decisions, SystemClock())
        self._secrets = SecretFiles(state / "secrets")
        self._policy, self._targets = policy, Targets(allowed)
        self._last: dict[StreamName, Position] = {}
        self._count = 0

    @asynccontextmanager
    async def folding(self) -> AsyncIterator["Plant"]:
        await self._follower.catch_up()
        following = asyncio.create_task(self._follower.run())
        try:
            yield self
        finally:
            following.cancel()
            await asyncio.wait({following})

    @asynccontextmanager
    async def working(self) -> AsyncIterator[Worker]:
        """One life of the worker."""
        async with Poster(self._targets) as post:
            worker = Worker(
                self.log, dispatch=self.dispatch, deliveries=self.deliveries, secrets=self._secrets, post=post,
                rng=Random(7), policy=self._policy,
            )  # fmt: skip
            task = asyncio.create_task(worker.run())
            try:
                yield worker
            finally:
                task.cancel()
                await asyncio.wait({task})
                assert task.cancelled() or task.exception() is None, task.exception()

    async def command(self, kind: type[Command], **fields: Any) -> None:
        self._count += 1
        ids: dict[str, Any] = {"id": CommandId(f"c{id(self)}-{self._count}"), "correlation_id": CorrelationId("test")}
        await self.dispatch(kind(**ids, actor=Actor("test", "internal"), **fields))

    async def webhook(self, url: str, name: str = "w1", types: tuple[str, ...] = ("Node*",)) -> WebhookId:
        self._secrets.store(name, SECRET)
        await self.command(
            RegisterWebhook, webhook_id=WebhookId(name), url=url, types=types, entities=(), after=Position(0),
            description="",
        )  # fmt: skip
        return WebhookId(name)

    def shown(self, webhook_id: WebhookId) -> Webhook:
        return self.view.state[webhook_id]

    async def happen(self, count: int, entities: int = 5, first: int = 0) -> list[Position]:
        """So many events, spread over the entities."""
        return [await self._happen(first + number, f"n{number % entities}") for number in range(count)]

    async def _happen(self, number: int, entity: str) -> Position:
        stream, name = StreamName("node", entity), f"{entity}-{number}"
        meta = Metadata(
            id=EventId(name), command_id=CommandId(name), correlation_id=CorrelationId(name), causation_id=None,
            actor=Actor("test", "internal"), at=SystemClock().now(),
        )  # fmt: skip
        drafts = ((NodeDraining(node_id=NodeId(entity), reason=str(number)), meta),)
        if stream not in self._last:
            before = await self.log.read(stream=stream)
            self._last[stream] = before[-1].position if before else Position(0)
        self._last[stream] = await self.log.append(stream, drafts, self._last[stream])
        return self._last[stream]
