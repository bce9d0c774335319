"""What subscribers need: in a gateway the feed and the delivery log, in the control process the worker itself."""

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_network

from events.log import Log
from events.log.feed import Feed
from events.log.nats_wire import Login
from events.signals.jetstream_deliveries import JetStreamDeliveries
from gateway.control.subscriptions import Subscriptions
from gateway.secrets import SecretFiles
from gateway.webhooks.post import Poster
from gateway.webhooks.targets import Lookup, Targets
from gateway.webhooks.worker import Worker
from handlers.dispatch import Dispatch
from ops.config import Settings
from projections.view import View
from projections.webhooks import Webhooks


def subscriptions_of(
    settings: Settings, log: Log, webhooks: View[Webhooks], ending: Callable[[], bool]
) -> Subscriptions:
    return Subscriptions(
        webhooks=webhooks,
        feed=Feed(log),
        deliveries=_deliveries(settings),
        secrets=_secrets(settings),
        targets=_targets(settings),
        lookup=Lookup(),
        ending=ending,
    )


@asynccontextmanager
async def webhook_worker(settings: Settings, log: Log, dispatch: Dispatch) -> AsyncIterator[Worker]:
    async with _closing(_deliveries(settings)) as deliveries, Poster(_targets(settings)) as post:
        yield Worker(
            log,
            dispatch=dispatch,
            deliveries=deliveries,
            secrets=_secrets(settings),
            post=post,
            rng=random.Random(),
        )


@asynccontextmanager
async def _closing(deliveries: JetStreamDeliveries) -> AsyncIterator[JetStreamDeliveries]:
    try:
        yield deliveries
    finally:
        await deliveries.close()


def _deliveries(settings: Settings) -> JetStreamDeliveries:
    if settings.nats_url is None:
        raise ValueError("no NATS address: start the stack with `causeway up`, or set CAUSEWAY_NATS_URL")
    return JetStreamDeliveries(Login(url=settings.nats_url))


def _secrets(settings: Settings) -> SecretFiles:
    return SecretFiles(settings.folder("secrets") / "webhooks")


def _targets(settings: Settings) -> Targets:
    return Targets([ip_network(each.strip()) for each in (settings.webhook_networks or "").split(",") if each.strip()])
