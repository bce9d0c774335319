"""Weights by HTTP: ranges of a URL for hubs, and `https://`, one file under its own name.

Every answer is checked against what the listing saw: the range, the whole size, ETag or Last-Modified. A server that
cannot do ranges is read from the beginning in one go.
"""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

import aiohttp
import blake3

from agents.effects.weights_sources import (
    Access,
    Listing,
    Source,
    SourceFailed,
    SourceFile,
    pipelined,
    said,
    tried,
    without_query,
)

PATIENCE = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_STREAM_BYTES = 1 << 20


@asynccontextmanager
async def session(headers: Mapping[str, str]) -> AsyncIterator[aiohttp.ClientSession]:
    """Proxies and certificates are those of the surroundings. Credentials do not follow a redirect to another host."""
    async with aiohttp.ClientSession(
        trust_env=True, timeout=PATIENCE, headers={**headers, "Accept-Encoding": "identity"}
    ) as opened:
        yield opened


def raise_for(url: str, status: int, reason: str | None) -> None:
    """Raises SourceFailed for what is not an answer."""
    answer = f"{without_query(url)} answered {status} {reason or ''}".rstrip()
    if status in (401, 403):
        raise SourceFailed("private", f"{answer}: name a secret that may read it as `auth_secret_name`")
    if status in (404, 410):
        raise SourceFailed("missing", f"{answer}: there is no such file; check the address")
    if status in (301, 302, 307, 308):
        raise SourceFailed("moved", f"{answer}: it is somewhere else now; write the new address")
    if status in (408, 425, 429) or status >= 500:
        raise SourceFailed("unavailable", answer)
    if status not in (200, 206):
        raise SourceFailed("unavailable", f"{answer}, which is no file")


async def read_range(
    client: aiohttp.ClientSession, file: SourceFile, start: int, length: int, validator: str | None = None
) -> bytes:
    """Exactly these bytes of it. `validator`: the ETag or date that the answer must carry."""
    url = file.location
    try:
        async with client.get(url, headers={"Range": f"bytes={start}-{start + length - 1}"}) as answer:
            if answer.status == 416:
                raise SourceFailed("changed", f"{without_query(url)} is shorter than when it was listed: push again")
            raise_for(url, answer.status, answer.reason)
            if validator is not None and validator_of(answer) != validator:
                raise SourceFailed("changed", f"{without_query(url)} changed after it was listed: push again")
            if answer.status == 206:
                found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
                if found is None or int(found[1]) != start or int(found[3]) != file.size:
                    raise SourceFailed("changed", f"{without_query(url)} is no longer {file.size} bytes: push again")
            elif start or length != file.size:
                raise SourceFailed("unavailable", f"{without_query(url)} does not answer with ranges")
            body = await answer.content.read(-1)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise SourceFailed("unavailable", f"{without_query(url)} cannot be read: {said(error)}") from error
    if len(body) != length:
        raise SourceFailed("unavailable", f"{without_query(url)}: {len(body)} of {length} bytes came")
    return body


def validator_of(answer: aiohttp.ClientResponse) -> str | None:
    etag = answer.headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified")


@asynccontextmanager
async def single_file(source: str, url: str, access: Access) -> AsyncIterator[Source]:
    async with session({"Authorization": f"Bearer {access.secret}"} if access.secret else {}) as client:
        yield SingleFile(client, url)


class SingleFile:
    """`https://host/path/model.safetensors`: a folder of one file."""

    def __init__(self, client: aiohttp.ClientSession, url: str) -> None:
        self._client = client
        self._url = url

    async def pin(self, revision: str | None) -> Listing:
        file = await tried(self._look)
        if file.size < 0:
            raise SourceFailed(
                "invalid", f"{without_query(self._url)} does not say how long it is: nobody could check it"
            )
        seen = blake3.blake3(f"{self._url}\0{file.etag}\0{file.size}".encode()).hexdigest()[:16]
        if revision is not None and seen != revision:
            raise SourceFailed("changed", f"{without_query(self._url)} changed after it was pinned: push again")
        return Listing(seen, (file,))

    async def stream(self, file: SourceFile, start: int) -> AsyncIterator[bytes]:
        if file.ranged:

            async def read(at: int, length: int) -> bytes:
                return await read_range(self._client, file, at, length, file.etag)

            async for body in pipelined(read, start, file.size):
                yield body
            return
        try:
            async with self._client.get(self._url) as answer:
                raise_for(self._url, answer.status, answer.reason)
                async for body in answer.content.iter_chunked(_STREAM_BYTES):
                    if start < len(body):
                        yield body[start:]
                    start = max(0, start - len(body))
        except (aiohttp.ClientError, TimeoutError) as error:
            raise SourceFailed("unavailable", f"{without_query(self._url)} cannot be read: {said(error)}") from error

    async def _look(self) -> SourceFile:
        """Asks for one byte, which tells whether ranges are known, how long it is and which version of it that is."""
        try:
            async with self._client.get(self._url, headers={"Range": "bytes=0-0"}) as answer:
                if answer.status == 416:
                    size, ranged = 0, False
                else:
                    raise_for(self._url, answer.status, answer.reason)
                    found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
                    ranged = answer.status == 206 and found is not None
                    size = int(found[3]) if ranged and found else answer.content_length or -1
                validator = validator_of(answer)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise SourceFailed("unavailable", f"{without_query(self._url)} cannot be read: {said(error)}") from error
        name = PurePosixPath(unquote(urlsplit(self._url).path)).name
        if not name:
            raise SourceFailed("invalid", f"{without_query(self._url)} names no file: write the address of one")
        return SourceFile(
            name,
            size,
            identity=f"{self._url}\0{validator}\0{size}" if validator else "",
            location=self._url,
            etag=validator,
            ranged=ranged and validator is not None,
        )
