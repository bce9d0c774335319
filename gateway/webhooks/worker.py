"""All webhooks: begins one delivery a webhook that is registered, ends those that are removed.

A second worker would do no harm but send everything twice; `turn.py` sees to it that there is one.
"""

import asyncio
import random

import msgspec
import structlog

from events.base import WebhookId
from events.log import Log
from events.log.feed import Feed
from events.signals.deliveries import Deliveries, Note, Place
from gateway.secrets import SecretFiles
from gateway.webhooks.delivery import Delivery, Post, patiently
from gateway.webhooks.lanes import Policy
from handlers.dispatch import Dispatch
from projections.follow import Follower
from projections.view import View
from projections.webhooks import WEBHOOKS, Webhook

_log = structlog.get_logger()
NO_SECRET = (
    "its secret is not on this machine: copy it into the state folder's secrets/webhooks from where it was added, or"
    " remove it and add it again"
)


class Worker:
    def __init__(
        self,
        log: Log,
        *,
        dispatch: Dispatch,
        deliveries: Deliveries,
        secrets: SecretFiles,
        post: Post,
        rng: random.Random,
        policy: Policy | None = None,
    ) -> None:
        self._feed = Feed(log)
        self._view = View(WEBHOOKS)
        self._follower = Follower(log, (self._view,))
        self._dispatch, self._deliveries, self._secrets, self._post = dispatch, deliveries, secrets, post
        self._rng, self._policy = rng, policy or Policy()
        self._running: dict[WebhookId, tuple[Webhook, Delivery, asyncio.Task[None]]] = {}
        self._without_secret: set[WebhookId] = set()
        self._woken = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled. Raises LogBroken."""
        await self._follower.catch_up()
        self._view.on_change(self._woken.set)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follower.run())
                while True:
                    self._woken.clear()
                    await self._follow_changes(tasks)
                    await self._woken.wait()
        finally:
            await self._feed.close()

    async def _follow_changes(self, tasks: asyncio.TaskGroup) -> None:
        webhooks = dict(self._view.state)
        for webhook_id in self._running.keys() - webhooks.keys():
            _, _, task = self._running.pop(webhook_id)
            task.cancel()
            tasks.create_task(self._forget(webhook_id, task))
        for webhook_id, webhook in webhooks.items():
            running = self._running.get(webhook_id)
            if running is None:
                delivery = await self._begin(webhook)
                if delivery is not None:
                    self._running[webhook_id] = webhook, delivery, tasks.create_task(delivery.run())
            elif running[0] is not webhook:
                running[1].changed(webhook)
                self._running[webhook_id] = (webhook, *running[1:])

    async def _begin(self, webhook: Webhook) -> Delivery | None:
        secret = await asyncio.to_thread(self._secrets.read, webhook.webhook_id)
        if secret is None:
            await self._tell_no_secret(webhook)
            return None
        return Delivery(
            webhook,
            secret,
            feed=self._feed,
            deliveries=self._deliveries,
            dispatch=self._dispatch,
            post=self._post,
            rng=self._rng,
            policy=self._policy,
        )

    async def _forget(self, webhook_id: WebhookId, ending: asyncio.Task[None]) -> None:
        """What is removed while no worker runs leaves its last notes."""
        await asyncio.wait({ending})
        await patiently(lambda: self._deliveries.forget(webhook_id))

    async def _tell_no_secret(self, webhook: Webhook) -> None:
        """Once. Looked for again whenever anything happens."""
        me = webhook.webhook_id
        if me not in self._without_secret:
            self._without_secret.add(me)
            _log.error("a webhook waits", webhook=me, why=NO_SECRET)
            place = await patiently(lambda: self._deliveries.place(me)) or Place(webhook.after)
            waits = msgspec.structs.replace(place, waits=NO_SECRET)
            await patiently(lambda: self._deliveries.keep(me, Note(waits)))
