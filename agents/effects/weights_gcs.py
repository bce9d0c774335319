"""Weights from Google Cloud Storage (`gs://`), by gcloud-aio-storage, which `requirements/gcs.txt` brings.

Credentials are those of the named secret, a service account's key, and never the operator's own; without one the bucket
must be public. The pin is a digest of all objects with their generations; a read names the generation.
"""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from io import StringIO
from typing import Any
from urllib.parse import quote

import aiohttp
import jwt
import msgspec
from gcloud.aio.auth import Token
from gcloud.aio.storage import Storage

from agents.effects.weights_buckets import below, path_below, pinned
from agents.effects.weights_http import PATIENCE, session
from agents.effects.weights_sources import (
    Access,
    FailureKind,
    Listing,
    Source,
    SourceFailed,
    SourceFile,
    Stated,
    pipelined,
    tried,
)
from agents.weights.wanted import Address

_HOST = "https://storage.googleapis.com"
_SCOPE = "https://www.googleapis.com/auth/devstorage.read_only"
_FORMAT = "the JSON key of a service account, with `type`, `client_email` and `private_key`"
_FIELDS = "nextPageToken,items(name,size,generation,md5Hash,crc32c)"
_PATIENCE_S = 60
_KINDS: dict[int, FailureKind] = {401: "private", 403: "private", 404: "missing", 412: "changed", 416: "changed"}
_FIXES: dict[FailureKind, str] = {
    "missing": "check bucket and path",
    "private": f"name a secret that may list and read it as `auth_secret_name`: {_FORMAT}",
    "changed": "what was pinned is not there any more: push again",
    "unavailable": "the store is in trouble",
}


class Key(msgspec.Struct, frozen=True):
    """What counts of a service account's key."""

    type: str
    client_email: str
    private_key: str
    token_uri: str = "https://oauth2.googleapis.com/token"


@asynccontextmanager
async def gcs_bucket(source: str, address: Address, access: Access) -> AsyncIterator[Source]:
    root = (access.surroundings.get("STORAGE_EMULATOR_HOST") or _HOST).rstrip("/")
    key = _key(source, access.secret)
    async with session({}) as opened:
        client: Any = opened  # The library's types are those of its twin, which is not asynchronous.
        token = Token(service_file=StringIO(key or "{}"), session=client, scopes=[_SCOPE])
        if key is not None:
            await tried(lambda: _check(source, token))
        # "dev" means no more to the client than that it sends no credentials; the connection is ours, and is checked.
        storage = Storage(session=client, token=token, api_root=root, api_is_dev=key is None)
        yield Bucket(source, address, storage, token if key is not None else None, root)


class Bucket:
    """`token`: None where nobody asked for one."""

    def __init__(self, source: str, address: Address, storage: Storage, token: Token | None, root: str) -> None:
        self._source = source
        self._address = address
        self._storage = storage
        self._token = token
        self._root = root

    async def pin(self, revision: str | None) -> Listing:
        return pinned(self._source, await below(self._source, self._address.path, self._listed), revision)

    async def stream(self, file: SourceFile, start: int) -> AsyncIterator[bytes]:
        async def read(at: int, length: int) -> bytes:
            return await self._read(file, at, length)

        async for body in pipelined(read, start, file.size):
            yield body

    async def _listed(self, prefix: str) -> list[SourceFile]:
        files, page = [], ""
        while True:
            params = {"prefix": prefix, "fields": _FIELDS, **({"pageToken": page} if page else {})}
            answer = await tried(partial(self._page, params))
            files += [self._file(found, prefix) for found in answer.get("items", ()) if found["name"][-1] != "/"]
            page = answer.get("nextPageToken", "")
            if not page:
                return files

    async def _page(self, params: dict[str, str]) -> dict[str, Any]:
        try:
            return await self._storage.list_objects(self._address.place, params=params, timeout=_PATIENCE_S)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _failed(self._source, error) from error

    async def _read(self, file: SourceFile, start: int, length: int) -> bytes:
        name = f"{self._source} ({file.location})"
        url = f"{self._root}/storage/v1/b/{self._address.place}/o/{quote(file.location, safe='')}"
        # What is stored compressed is read as it is stored: so it is counted and hashed.
        headers = {"Range": f"bytes={start}-{start + length - 1}", "Accept-Encoding": "gzip"}
        try:
            if self._token is not None:
                headers["Authorization"] = f"Bearer {await self._token.get()}"
            answer = await self._storage.session.get(
                url,
                headers=headers,
                params={"alt": "media", "generation": file.version or ""},
                timeout=PATIENCE,
                auto_decompress=False,
            )
            async with answer:
                body: bytes = await answer.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            failed = _failed(name, error)
            if failed.kind == "missing":  # It was listed: another generation has taken its place.
                raise SourceFailed("changed", f"{name}: {_FIXES['changed']}") from error
            raise failed from error
        if len(body) != length:
            raise SourceFailed("unavailable", f"{name}: {len(body)} of {length} bytes came")
        return body

    def _file(self, found: dict[str, Any], prefix: str) -> SourceFile:
        name, generation = found["name"], found["generation"]
        return SourceFile(
            path_below(name, prefix),
            int(found["size"]),
            identity=f"gs:{self._root}/{self._address.place}/{name}\0{generation}",
            location=name,
            version=generation,
            stated=_stated(found),
        )


def _stated(found: dict[str, Any]) -> Stated | None:
    """What was composed of parts has no MD5, but a CRC32C of the whole."""
    for algorithm, field in (("md5", "md5Hash"), ("crc32c", "crc32c")):
        if field in found:
            return Stated(algorithm, base64.b64decode(found[field]).hex())  # type: ignore[arg-type]
    return None


def _key(source: str, secret: str | None) -> str | None:
    """Only what counts: nothing else in it can lead the client anywhere."""
    if secret is None:
        return None
    try:
        key = msgspec.json.decode(secret, type=Key)
    except msgspec.MsgspecError as error:
        raise SourceFailed("invalid", f"{source}: the secret is not what it must be, {_FORMAT}: {error}") from None
    if key.type != "service_account":
        raise SourceFailed("invalid", f"{source}: the secret is of type {key.type!r}: write {_FORMAT}")
    return msgspec.json.encode(key).decode()


async def _check(source: str, token: Token) -> None:
    """Once, before the client asks for tokens by itself: it would try a key that is wrong again and again."""
    try:
        await token.refresh(timeout=_PATIENCE_S)
    except aiohttp.ClientResponseError as error:
        if error.status >= 500 or error.status == 429:
            raise SourceFailed("unavailable", f"{source}: no token for the secret now: {error.status}") from error
        raise SourceFailed(
            "private", f"{source}: the secret does not open it ({error.status} {error.message}): check the key"
        ) from error
    except (ValueError, TypeError, jwt.PyJWTError) as error:
        raise SourceFailed("invalid", f"{source}: the secret's `private_key` is none: {error}") from error
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise SourceFailed("unavailable", f"{source}: no token for the secret: {error!r}") from error


def _failed(name: str, error: Exception) -> SourceFailed:
    if isinstance(error, aiohttp.ClientResponseError):
        kind = _KINDS.get(error.status, "unavailable")
        return SourceFailed(kind, f"{name} answered {error.status}: {_FIXES[kind]}")
    return SourceFailed("unavailable", f"{name} cannot be reached: {error!r}")
