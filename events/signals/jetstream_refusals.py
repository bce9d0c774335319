"""Refused commands in a JetStream stream of their own, `refused.<category>.<command>`, which forgets in ninety days."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, DeliverPolicy, DiscardPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from events.log.jetstream_link import client_options
from events.log.nats_wire import Login
from events.signals.jetstream_reading import not_cancelled
from events.signals.refusals import KEPT_S, KeptRefusal, Refusal, RefusalsUnavailable

_log = structlog.get_logger()
STREAM = "CAUSEWAY_REFUSED"
KEEP_DEADLINE_S = 1.0
MOST_AT_ONCE = 500
IDLE_S = 20.0
"""So long without a new one, and the follower makes sure that the stream is still the one it reads."""
_SETTINGS = StreamConfig(
    name=STREAM,
    description="Commands that were refused: who tried what, and why not. The audit trail keeps them for good.",
    subjects=["refused.>"],
    storage=StorageType.FILE,
    discard=DiscardPolicy.OLD,
    max_age=KEPT_S,
    max_bytes=1 << 30,
    duplicate_window=120.0,
)
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Refusal)


class JetStreamRefusals:
    """Connects, and makes the stream, when there is first something to keep or to read."""

    def __init__(
        self, url: str, *, user: str | None = None, password: str | None = None, token: str | None = None
    ) -> None:
        self._login = Login(url=url, user=user, password=password, token=token, tls=None)
        self._client: Client | None = None
        self._connecting = asyncio.Lock()
        self._there = False

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def _jetstream(self) -> JetStreamContext:
        """Raises OSError while the server is away."""
        async with self._connecting:
            if self._client is None:
                client = Client()
                try:
                    async with asyncio.timeout(KEEP_DEADLINE_S):
                        await client.connect(**client_options(self._login, "causeway refusals"))
                except BaseException:
                    await client.close()
                    raise
                self._client = client
        if not self._client.is_connected:
            raise OSError("not connected")
        return self._client.jetstream()

    async def keep(self, refusal: Refusal) -> None:
        try:
            async with asyncio.timeout(KEEP_DEADLINE_S):
                jetstream = await self._jetstream()
                if not self._there:
                    await jetstream.add_stream(_SETTINGS)
                    self._there = True
                subject = f"refused.{refusal.category}.{refusal.command}"
                headers = {"Nats-Msg-Id": refusal.id}
                await jetstream.publish(subject, _encoder.encode(refusal), headers=headers)
        except (Error, TimeoutError, OSError) as error:
            self._there = False
            _log.warning(
                "a refusal is not kept", why=str(error) or type(error).__name__, refusal=msgspec.to_builtins(refusal)
            )

    async def follow(self, after: int) -> AsyncIterator[tuple[KeptRefusal, ...]]:
        try:
            while True:
                jetstream = await self._jetstream()
                try:
                    state = (await jetstream.stream_info(STREAM)).state
                except NotFoundError:
                    await asyncio.sleep(1.0)  # nothing has been refused yet
                    continue
                async for batch in _from(jetstream, after if after <= state.last_seq else 0):
                    after = batch[-1].sequence
                    yield batch
                not_cancelled()
                yield ()
        except (Error, TimeoutError, OSError) as error:
            raise RefusalsUnavailable(str(error) or type(error).__name__) from error


async def _from(jetstream: JetStreamContext, after: int) -> AsyncIterator[tuple[KeptRefusal, ...]]:
    """Until nothing comes for a while."""
    config = ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=after + 1)
    reading = await jetstream.subscribe("refused.>", stream=STREAM, ordered_consumer=True, config=config)
    try:
        while True:
            messages = [await reading.next_msg(timeout=IDLE_S)]
            while reading.pending_msgs and len(messages) < MOST_AT_ONCE:
                messages.append(await reading.next_msg(timeout=IDLE_S))
            not_cancelled()
            if batch := tuple(kept for each in messages if (kept := _kept(each)) is not None):
                yield batch
    except TimeoutError:
        return
    finally:
        await reading.unsubscribe()


def _kept(message: Msg) -> KeptRefusal | None:
    """None: another program's, or of another version of this one. It must not end what follows the others."""
    sequence = message.metadata.sequence.stream
    try:
        return KeptRefusal(sequence, _decoder.decode(message.data))
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        _log.error("not a refusal: left out of the audit trail", subject=message.subject, at=sequence, why=str(error))
        return None
