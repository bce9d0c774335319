"""Signals over core NATS, on `sig.<kind>`: at most once, kept nowhere.

A channel that is away costs nobody anything: what is published meanwhile is dropped, and listeners are told when it
works again. A listener that falls too far behind loses what waited and is told the same.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error

from events.log.jetstream_link import client_options, settled
from events.log.nats_wire import Login
from events.signals import Resumed, Signal

MOST_WAITING = 10_000
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Signal)


class CoreNatsSignals:
    """Made by `connect`; ended by `close`."""

    def __init__(self, login: Login, now: Callable[[], datetime]) -> None:
        self._login = login
        self._now = now
        self._client: Client | None = None
        self._subscribed: Client | None = None
        self._listeners: set[asyncio.Queue[Signal]] = set()
        self._up = asyncio.Event()
        self._closed = asyncio.Event()
        self._keeping = asyncio.create_task(self._keep())
        self.dropped = 0
        """Signals not sent, not understood, or not taken in time."""
        self.problem = ""
        """What the connection last complained of."""

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        user: str | None = None,
        password: str | None = None,
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
        patience_s: float = 2.0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> "CoreNatsSignals":
        """Goes on without a server after `patience_s`, and connects whenever there is one."""
        signals = cls(Login(url=url, user=user, password=password, token=token, tls=tls), now)
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await signals._up.wait()
        return signals

    async def close(self) -> None:
        self._keeping.cancel()
        with suppress(asyncio.CancelledError):
            await self._keeping

    async def publish(self, signal: Signal) -> None:
        client = self._client
        if client is None or not client.is_connected:
            self.dropped += 1
            return
        try:
            await client.publish(f"sig.{type(signal).__name__}", _encoder.encode(signal))
        except Error:
            self.dropped += 1

    async def listen(self) -> AsyncIterator[Signal]:
        queue: asyncio.Queue[Signal] = asyncio.Queue(MOST_WAITING)
        self._listeners.add(queue)
        try:
            await self._subscribe()
            while True:
                yield await queue.get()
        finally:
            self._listeners.discard(queue)

    async def _keep(self) -> None:
        """A client for ever: nats-py reconnects by itself, and gives up only when a server sends it away."""
        while True:
            client = Client()
            self._closed.clear()
            try:
                self._client = None
                await client.connect(
                    **client_options(
                        self._login,
                        "causeway signals",
                        error_cb=self._failed,
                        disconnected_cb=self._broken,
                        reconnected_cb=self._mended,
                        closed_cb=self._ended,
                    )
                )
                self._client = client
                await self._subscribe()
                await self._mended()
                await self._closed.wait()
            except (OSError, Error) as error:
                await self._failed(error)
                await asyncio.sleep(0.2)
            finally:
                await client.close()

    async def _subscribe(self) -> None:
        """Once a client, and only where somebody listens."""
        client = self._client
        if client is None or client is self._subscribed or not self._listeners:
            return
        self._subscribed = client
        # A connection that breaks meanwhile takes the subscription up again by itself.
        with suppress(Error):
            await client.subscribe("sig.>", cb=self._heard)
            await settled(client)

    async def _heard(self, message: Msg) -> None:
        try:
            signal: Signal = _decoder.decode(message.data)
        except msgspec.DecodeError:
            self.dropped += 1
            return
        self._tell(signal)

    def _tell(self, signal: Signal) -> None:
        for queue in self._listeners:
            if queue.full():
                self.dropped += queue.qsize()
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait(Resumed(at=self._now()))
            queue.put_nowait(signal)

    async def _mended(self) -> None:
        self._up.set()
        self._tell(Resumed(at=self._now()))

    async def _broken(self) -> None:
        self._up.clear()

    async def _ended(self) -> None:
        self._up.clear()
        self._closed.set()

    async def _failed(self, error: Exception) -> None:
        self.problem = str(error) or type(error).__name__
