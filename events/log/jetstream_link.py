"""Questions to JetStream over nats-py, which reconnects for ever; nothing is ever kept back and sent later unseen.

The rule it keeps: whoever asks learns whether the question was answered, was certainly not acted on (`NotSent`), or
may have been (`NoAnswer`). Questions in flight fail at once when the connection breaks.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error, MaxPayloadError

from events.log.nats_wire import Login

ANSWER_S = 5.0
"""How long one question waits for its answer."""
CONNECT_S = 2.0
TOLD_EVERY_S = 60.0
_log = logging.getLogger("causeway")

Outgoing = tuple[str, dict[str, str], bytes]
"""Subject, headers, payload."""


class NotSent(Exception):
    """Nobody who could act on the question got it."""


class NoAnswer(Exception):
    """The question may have been acted on; the answer did not come."""


class Reach:
    """Since when the log has been out of reach, for whoever of this process talks to it."""

    def __init__(self) -> None:
        self._away: dict[object, float] = {}

    def lost(self, who: object) -> None:
        self._away.setdefault(who, time.monotonic())

    def regained(self, who: object) -> None:
        self._away.pop(who, None)

    @property
    def away_since(self) -> float | None:
        return min(self._away.values()) if self._away else None


def client_options(login: Login, name: str, **callbacks: Callable[..., Awaitable[None]]) -> dict[str, Any]:
    """How every nats-py client of ours connects: for ever, quickly, and noticing a silent server within seconds."""
    return {
        "servers": list(login.servers()),
        "user": login.user,
        "password": login.password,
        "token": login.token,
        "tls": login.tls,
        "name": name,
        "connect_timeout": 2,
        "reconnect_time_wait": 0.1,
        "max_reconnect_attempts": -1,
        "ping_interval": 2,
        "max_outstanding_pings": 2,
        # Nothing is kept back and sent after a reconnect: what could not be sent is known not to be sent.
        "pending_size": 0,
        "error_cb": seldom_told(name),
        **callbacks,
    }


def seldom_told(name: str) -> Callable[[Exception], Awaitable[None]]:
    """Once a minute: nats-py has something to tell at each of the ten times a second that it tries to reconnect."""
    told_at = -math.inf

    async def tell(error: Exception) -> None:
        nonlocal told_at
        now = time.monotonic()
        if now >= told_at + TOLD_EVERY_S:
            told_at = now
            _log.warning("%s: the connection to NATS: %s", name, str(error) or type(error).__name__)

    return tell


async def settled(client: Client, timeout_s: int = 10) -> None:
    """Returns when the server has read all that the client has said, such as its subscriptions."""
    # nats-py's ping overtakes what is yet to be written; when its answer comes, that has been written too.
    for _ in range(2):
        await client.flush(timeout_s)


class Link:
    """The connection that questions go over. nats-py reconnects it; questions in flight fail at once when it breaks."""

    def __init__(self, login: Login, reach: Reach) -> None:
        self._login = login
        self._reach = reach
        self._client: Client | None = None
        self._opening = asyncio.Lock()
        self._inbox = ""
        self._waiting: dict[str, asyncio.Future[Msg]] = {}
        self._asked = 0
        self._closing = False
        self._problem = "it was never reached"

    async def open(self, patience_s: float) -> Client:
        """The connected client. Raises NotSent when there is none in time."""
        async with self._opening:
            if self._client is not None and not self._client.is_closed:
                return self._client
            client = Client()
            try:
                async with asyncio.timeout(patience_s):
                    await client.connect(
                        **client_options(
                            self._login,
                            "causeway log",
                            error_cb=self._failed,
                            disconnected_cb=self._broken,
                            reconnected_cb=self._mended,
                            closed_cb=self._broken,
                        )
                    )
                    self._inbox = client.new_inbox()
                    await client.subscribe(f"{self._inbox}.*", cb=self._answered)
            except (TimeoutError, OSError, Error) as error:
                await client.close()
                self._reach.lost(self)
                raise NotSent(f"no connection to {self._login.where}: {self._problem or error}") from error
            self._client = client
            self._reach.regained(self)
            return client

    async def _failed(self, error: Exception) -> None:
        self._problem = str(error) or type(error).__name__

    async def _broken(self) -> None:
        if not self._closing:
            self._reach.lost(self)
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(NoAnswer("the connection broke before the answer came"))

    async def _mended(self) -> None:
        self._reach.regained(self)

    async def _answered(self, message: Msg) -> None:
        waiting = self._waiting.get(message.subject)
        if waiting is not None and not waiting.done():
            waiting.set_result(message)

    async def ask(self, *outgoing: Outgoing) -> Any:
        """Sends the messages; the answer to the last one, decoded. Raises NotSent, NoAnswer."""
        client = self._client
        if client is None or client.is_closed:
            client = await self.open(CONNECT_S)
        if not client.is_connected:
            raise NotSent(f"not connected to {self._login.where}: {self._problem}")
        self._asked += 1
        subject = f"{self._inbox}.{self._asked}"
        waiting = self._waiting[subject] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(ANSWER_S):
                for number, (to, headers, payload) in enumerate(outgoing, 1):
                    reply = subject if number == len(outgoing) else ""
                    await client.publish(to, payload, reply, headers or None)
                message = await waiting
        except TimeoutError:
            raise NoAnswer(f"no answer within {ANSWER_S:g} s") from None
        except MaxPayloadError:
            raise ValueError(f"an event is larger than the server's max_payload of {client.max_payload}") from None
        except Error as error:
            raise NotSent(f"{error}; last problem: {self._problem}") from error
        finally:
            del self._waiting[subject]
        if message.headers and message.headers.get("Status") == "503":
            raise NotSent("JetStream is not ready: nobody listens")
        return msgspec.json.decode(message.data)

    @property
    def server_version(self) -> tuple[int, int]:
        if self._client is None:
            raise NotSent("not connected")
        version = self._client.connected_server_version
        return version.major, version.minor

    async def close(self) -> None:
        self._closing = True
        if self._client is not None:
            await self._client.close()
        self._reach.regained(self)
