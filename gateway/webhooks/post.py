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
RETRY_AFTER_MAX_S = 3600
SHOWN_BYTES = 300
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
                shown = (await response.content.read(SHOWN_BYTES)).decode(errors="replace")
                return meaning(response.status, response.headers, shown)
        except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError) as error:
            return Answer("away", None, _reason(error))
        except TimeoutError:
            return Answer("failed", None, f"no answer within {deadline_s:g} s")
        except (aiohttp.ClientError, OSError) as error:
            return Answer("failed", None, _reason(error))


def signed(secret: str, recorded: Recorded, body: bytes) -> dict[str, str]:
    now = datetime.fromtimestamp(int(time.time()), UTC)
    return {
        "content-type": CONTENT_TYPE,
        "user-agent": "causeway",
        "webhook-id": recorded.meta.id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Signer(secret).sign(recorded.meta.id, now, body.decode()),
    }


def meaning(status: int, headers: Mapping[str, str], shown: str) -> Answer:
    if 200 <= status < 300:
        return Answer("delivered", status, "")
    if 300 <= status < 400:
        where = headers.get("Location", "")[:SHOWN_BYTES]
        return Answer("failed", status, f"answered {status} to {where}: redirects are not followed; move the webhook")
    reason = f"answered {status}: {' '.join(shown.split())}" if shown.strip() else f"answered {status}"
    if status in PATIENCE:
        after = headers.get("Retry-After", "")
        wait_s = min(int(after), RETRY_AFTER_MAX_S) if after.isascii() and after.isdigit() else 0
        return Answer("away", status, reason, wait_s)
    return Answer("failed", status, reason)


def _reason(error: Exception) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, TargetRefused):
            return str(cause)
        cause = getattr(cause, "os_error", None) or cause.__cause__
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot connect: {error.os_error.strerror or error.os_error}"[:SHOWN_BYTES]
    return (str(error) or type(error).__name__)[:SHOWN_BYTES]
