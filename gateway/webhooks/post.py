"""One attempt to deliver one event: a signed POST (Standard Webhooks), and what its answer means.

Redirects are not followed: a signed event goes where somebody said that it should, and nowhere else.
"""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import aiohttp
import msgspec
from standardwebhooks.webhooks import Webhook as Signer

from events.codec import Recorded
from events.signals.deliveries import Result
from gateway.cloudevent import CONTENT_TYPE, encoded
from gateway.webhooks.targets import Lookup, TargetRefused, Targets

PATIENCE = (429, 502, 503, 504)
"""Answers of a receiver that is not there now, whatever the event."""
RETRY_AFTER_MAX_S = 3600.0
SHOWN_MAX = 300
CONNECT_S = 5.0
KEEPALIVE_S = 20.0


class Answer(msgspec.Struct, frozen=True):
    result: Result
    status: int | None
    reason: str
    retry_after_s: float = 0.0


class Poster:
    """`async with`; the connections of all webhooks, without a bound in common."""

    def __init__(self, targets: Targets) -> None:
        self._targets = targets
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(
            limit=0,
            resolver=Lookup(),
            use_dns_cache=False,
            socket_factory=self._targets.socket,
            keepalive_timeout=KEEPALIVE_S,
        )
        # No proxy of the environment, no cookies: nothing of one receiver reaches another.
        self._session = aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, auto_decompress=False
        )
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, at: TracebackType | None) -> None:
        if self._session is not None:
            await self._session.close()

    async def __call__(self, url: str, secret: str, recorded: Recorded, number: int, deadline_s: float) -> Answer:
        assert self._session is not None, "used outside of `async with`"
        body = encoded(recorded)
        timeout = aiohttp.ClientTimeout(total=deadline_s, connect=CONNECT_S)
        headers = signed(secret, recorded, body) | {"causeway-attempt": str(number)}
        try:
            async with self._session.post(
                url, data=body, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                return meaning(response.status, response.headers, await _beginning(response), datetime.now(UTC))
        except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError) as error:
            return Answer("away", None, _reason(error))
        except TimeoutError:
            return Answer("failed", None, f"no answer within {deadline_s:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Answer("failed", None, _reason(error))


def signed(secret: str, recorded: Recorded, body: bytes) -> dict[str, str]:
    now = datetime.fromtimestamp(int(time.time()), UTC)
    return {
        "content-type": CONTENT_TYPE,
        "user-agent": "causeway",
        "accept-encoding": "identity",
        "webhook-id": recorded.meta.id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Signer(secret).sign(recorded.meta.id, now, body.decode()),
    }


async def _beginning(response: aiohttp.ClientResponse) -> str:
    """Of what it says. The status decides, also when the rest is cut off or never comes."""
    try:
        return (await response.content.read(SHOWN_MAX)).decode(errors="replace")
    except (aiohttp.ClientError, OSError, TimeoutError):
        return ""


def meaning(status: int, headers: Mapping[str, str], said: str, now: datetime) -> Answer:
    if 200 <= status < 300:
        return Answer("delivered", status, "")
    if 300 <= status < 400:
        where = shown(headers.get("Location", ""))
        return Answer("failed", status, f"answered {status} to {where}: redirects are not followed; move the webhook")
    reason = f"answered {status}: {shown(said)}".removesuffix(": ")
    if status in PATIENCE:
        return Answer("away", status, reason, _retry_after_s(headers.get("Retry-After", ""), now))
    return Answer("failed", status, reason)


def _retry_after_s(text: str, now: datetime) -> float:
    """Seconds or a date, as HTTP has it; what is neither says nothing."""
    if text.isascii() and text.isdigit():
        return min(float(text), RETRY_AFTER_MAX_S)
    try:
        until = datetime.strptime(text, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
    except ValueError:
        return 0.0
    return min(max(0.0, (until - now).total_seconds()), RETRY_AFTER_MAX_S)


def shown(text: str) -> str:
    """A stranger's text as it may lie in the log and on a terminal: in one line, with nothing that does not print."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())[:SHOWN_MAX]


def _reason(error: Exception) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, TargetRefused):
            return str(cause)
        cause = getattr(cause, "os_error", None) or cause.__cause__
    if isinstance(error, aiohttp.ClientConnectorError):
        return shown(f"cannot connect: {error.os_error.strerror or error.os_error}")
    if isinstance(error, aiohttp.ClientResponseError):
        return shown(f"what it answers is not HTTP: {error.message}")
    return shown(str(error)) or type(error).__name__
