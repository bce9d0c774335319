"""Notes on deliveries in a JetStream stream of its own: one subject a webhook, the last thousand notes of each."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from nats.aio.client import Client
from nats.errors import Error
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from events.base import WebhookId
from events.log.jetstream_link import client_options
from events.log.nats_wire import Login
from events.signals.deliveries import NOTES_KEPT, Attempt, DeliveriesUnavailable, Note, Place, decode, encode, newest
from events.signals.jetstream_reading import not_cancelled, to_the_end

STREAM = "CAUSEWAY_DELIVERIES"
CONNECT_S = 5.0
_SETTINGS = StreamConfig(
    name=STREAM,
    description="Where webhooks stand, and their last deliveries.",
    subjects=["deliveries.>"],
    storage=StorageType.FILE,
    discard=DiscardPolicy.OLD,
    max_msgs_per_subject=NOTES_KEPT,
)


class JetStreamDeliveries:
    """Connects when first used. The stream is made when something is to be kept."""

    def __init__(self, login: Login) -> None:
        self._login = login
        self._client: Client | None = None
        self._opening = asyncio.Lock()
        self._there = False

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def keep(self, webhook_id: WebhookId, note: Note) -> None:
        async with self._answering() as jetstream:
            if not self._there:
                await jetstream.add_stream(_SETTINGS)
                self._there = True
            await jetstream.publish(_subject(webhook_id), encode(note))

    async def place(self, webhook_id: WebhookId) -> Place | None:
        async with self._answering() as jetstream:
            try:
                last = await jetstream.get_last_msg(STREAM, _subject(webhook_id))
            except NotFoundError:
                return None
            return decode(last.data or b"").place

    async def attempts(self, webhook_id: WebhookId, most: int) -> list[Attempt]:
        async with self._answering() as jetstream:
            try:
                notes = to_the_end(jetstream, STREAM, _subject(webhook_id))
                return newest([decode(message.data) async for message in notes], most)
            except NotFoundError:
                return []

    async def forget(self, webhook_id: WebhookId) -> None:
        async with self._answering() as jetstream:
            with suppress(NotFoundError):
                await jetstream.purge_stream(STREAM, subject=_subject(webhook_id))

    @asynccontextmanager
    async def _answering(self) -> AsyncIterator[JetStreamContext]:
        try:
            yield (await self._connected()).jetstream()
            not_cancelled()
        except (Error, TimeoutError, OSError) as error:
            self._there = False
            raise DeliveriesUnavailable(str(error) or type(error).__name__) from error

    async def _connected(self) -> Client:
        async with self._opening:
            if self._client is None:
                client = Client()
                try:
                    async with asyncio.timeout(CONNECT_S):
                        await client.connect(**client_options(self._login, "causeway deliveries"))
                except BaseException:
                    await client.close()
                    raise
                self._client = client
            return self._client


def _subject(webhook_id: WebhookId) -> str:
    return f"deliveries.{webhook_id}"
