"""Plain requests to a bucket, past the client: signed here, carried by aiohttp, for a third of the processor time.

The client needs two to five milliseconds a call, and a gigabyte of chunks is a thousand calls. What is asked often is
asked here first. Only an answer that leaves no question counts; with any other, the caller asks the client the same: it
tries again, knows regions and redirects, and says what is wrong. After trouble the client is asked alone for a while.
"""

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import quote
from urllib.request import getproxies

import aiohttp
import structlog
from botocore.exceptions import BotoCoreError
from yarl import URL

from agents.effects.s3_signing import EMPTY, Keys, signed

_log = structlog.get_logger()
_PATIENCE = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=30)
_PIECE_BYTES, _READ_BYTES = 256 << 10, 1 << 20
_CLIENT_ALONE_S = 10.0
_CLEAR = (200, 206, 404)
_CHANGED = (412, 416)


class Answer(NamedTuple):
    status: int
    """200, 206, or 404 where a HEAD found nothing."""
    headers: Mapping[str, str]
    body: bytes


@asynccontextmanager
async def direct(
    client: Any, credentials: Any, bucket: str, surroundings: Mapping[str, str]
) -> AsyncIterator["Direct"]:
    """`client`: aioboto3's, which knows where the bucket is. `credentials`: aiobotocore's; None: nothing is signed."""
    place, trusted = None, None
    with suppress(
        BotoCoreError, OSError
    ):  # What is wrong with the bucket's name, or the certificates, the client says.
        link = await client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
        authorities = surroundings.get("AWS_CA_BUNDLE")
        trusted = ssl.create_default_context(cafile=authorities) if authorities else None
        place = URL(link, encoded=True)
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=32, ssl=trusted or True),
        timeout=_PATIENCE,
        headers={"Accept-Encoding": "identity"},
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        read_bufsize=_READ_BYTES,
        trust_env=bool(getproxies()),  # It looks for a .netrc at every request then.
    )
    async with session:
        yield Direct(session, credentials, place, client.meta.region_name)


class Direct:
    """`place`: of the object `k`; None: there is none to ask."""

    def __init__(self, session: aiohttp.ClientSession, credentials: Any, place: URL | None, region: str) -> None:
        self._session, self._credentials, self._region = session, credentials, region
        self._place = place
        self._not_before_s = 0.0

    async def ask(
        self, method: str, key: str, headers: Mapping[str, str] | None = None, body: bytes | memoryview | None = None
    ) -> Answer | None:
        """None: ask the client."""
        if self._place is None or asyncio.get_running_loop().time() < self._not_before_s:
            return None
        try:
            path = self._place.raw_path[:-1] + quote(key, safe="/~")
            url = URL(f"{self._place.origin()}{path}", encoded=True)
            carried = {**(headers or {}), **await self._signs(url, method, path, body)}
            sent = None if body is None else _Pieces(body)
            async with self._session.request(method, url, headers=carried, data=sent, allow_redirects=False) as answer:
                if answer.status in _CLEAR and (answer.status != 404 or method == "HEAD"):
                    return Answer(answer.status, answer.headers, await answer.read())
                if answer.status != 404 and answer.status not in _CHANGED:
                    self._trouble(f"it answered {answer.status}")
        except (BotoCoreError, aiohttp.ClientError, OSError, TimeoutError) as error:
            self._trouble(repr(error))
        return None

    async def _signs(self, url: URL, method: str, path: str, body: bytes | memoryview | None) -> dict[str, str]:
        length = {} if body is None else {"Content-Length": str(len(body))}
        if self._credentials is None:
            return length
        keys = await self._credentials.get_frozen_credentials()
        sha256 = (await asyncio.to_thread(hashlib.sha256, body)).hexdigest() if body else EMPTY
        own = Keys(keys.access_key, keys.secret_key, keys.token)
        host = url.host_port_subcomponent or ""
        return signed(own, self._region, method, host, path, sha256, datetime.now(UTC)) | length

    def _trouble(self, why: str) -> None:
        if not self._not_before_s:
            _log.info(
                "a bucket is asked by its client, which takes longer",
                bucket=str(self._place and self._place.origin()),
                why=why,
            )
        self._not_before_s = asyncio.get_running_loop().time() + _CLIENT_ALONE_S


class _Pieces:
    """So that a large body does not hold up the loop. From the beginning each time that it is sent."""

    def __init__(self, body: bytes | memoryview) -> None:
        self._body = memoryview(body)

    async def __aiter__(self) -> AsyncIterator[memoryview]:
        for start in range(0, len(self._body), _PIECE_BYTES):
            yield self._body[start : start + _PIECE_BYTES]
