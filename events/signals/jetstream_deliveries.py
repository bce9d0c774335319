"""Notes on deliveries in a JetStream stream of its own: one subject a webhook, the last thousand notes of each."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from nats.aio.client import Client
from nats.errors import Error
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from events.base import WebhookId
from events.log.jetstream_link import client_options
from events.log.nats_wire import Login
from events.signals.deliveries import NOTES_KEPT, Attempt, DeliveriesUnavailable, Note, Place, newest

STREAM = "CAUSEWAY_DELIVERIES"
_SETTINGS = StreamConfig(
    name=STREAM,
    description="Where webhooks stand, and their last deliveries.",
    subjects=["deliveries.>"],
    storage=StorageType.FILE,
    discard=DiscardPolicy.OLD,
    max_msgs_per_subject=NOTES_KEPT,
)
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Note)


class JetStreamDeliveries:
    """Made by `open_deliveries`. The stream is made when something is to be kept."""

    def __init__(self, client: Client) -> None:
        self._jetstream: JetStreamContext = client.jetstream()
        self._there = False

    async def keep(self, webhook_id: WebhookId, note: Note) -> None:
        try:
            if not self._there:
                await self._jetstream.add_stream(_SETTINGS)
                self._there = True
            await self._jetstream.publish(_subject(webhook_id), _encoder.encode(note))
        except (Error, TimeoutError, OSError) as error:
            self._there = False
            raise DeliveriesUnavailable(str(error) or type(error).__name__) from error

    async def place(self, webhook_id: WebhookId) -> Place | None:
        try:
            last = await self._jetstream.get_last_msg(STREAM, _subject(webhook_id))
        except NotFoundError:
            return None
        except (Error, TimeoutError, OSError) as error:
            raise DeliveriesUnavailable(str(error) or type(error).__name__) from error
        return _decoder.decode(last.data or b"").place

    async def attempts(self, webhook_id: WebhookId, most: int) -> list[Attempt]:
        try:
            return newest([note async for note in self._notes(webhook_id)], most)
        except NotFoundError:
            return []
        except (Error, TimeoutError, OSError) as error:
            raise DeliveriesUnavailable(str(error) or type(error).__name__) from error

    async def _notes(self, webhook_id: WebhookId) -> AsyncIterator[Note]:
        await self._jetstream.stream_info(STREAM)
        reading = await self._jetstream.subscribe(_subject(webhook_id), stream=STREAM, ordered_consumer=True)
        try:
            known = await reading.consumer_info()
            left = (known.num_pending or 0) + (known.delivered.consumer_seq if known.delivered is not None else 0)
            while left > 0:
                message = await reading.next_msg(timeout=5.0)
                left = message.metadata.num_pending
                yield _decoder.decode(message.data)
        finally:
            await reading.unsubscribe()


def _subject(webhook_id: WebhookId) -> str:
    return f"deliveries.{webhook_id}"


@asynccontextmanager
async def open_deliveries(
    url: str, *, user: str | None = None, password: str | None = None, token: str | None = None
) -> AsyncIterator[JetStreamDeliveries]:
    """Raises DeliveriesUnavailable."""
    client, login = Client(), Login(url=url, user=user, password=password, token=token, tls=None)
    try:
        async with asyncio.timeout(5.0):
            await client.connect(**client_options(login, "causeway deliveries"))
    except (Error, OSError, TimeoutError) as error:
        raise DeliveriesUnavailable(str(error) or type(error).__name__) from error
    try:
        yield JetStreamDeliveries(client)
    finally:
        await client.close()
