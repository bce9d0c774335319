"""Weights from Azure Blob Storage (`azure://account/container/path`), by azure-storage-blob: `requirements/azure.txt`.

Credentials are those of the named secret, an account's key or a shared access signature, and never the operator's own;
without one the container must be public. The pin is a digest of all blobs with their ETags; every read demands the ETag
that was listed.
"""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from azure.core import MatchConditions
from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential
from azure.core.exceptions import AzureError, HttpResponseError
from azure.storage.blob import BlobProperties
from azure.storage.blob.aio import ContainerClient

from agents.effects.weights_buckets import below, path_below, pinned
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

_FORMAT = '{"account_key": …} or {"sas_token": …}, and `endpoint_url` where it is not Azure itself'
_KINDS: dict[int, FailureKind] = {
    400: "invalid", 401: "private", 403: "private", 404: "missing", 409: "private", 412: "changed", 416: "changed",
}  # fmt: skip
_FIXES: dict[FailureKind, str] = {
    "missing": "check account, container and path; without a secret, what is private is not found either",
    "private": f"name a secret that may list and read it as `auth_secret_name`: {_FORMAT}",
    "changed": "it changed after it was pinned: push again",
    "invalid": f"check the secret, JSON {_FORMAT}",
    "unavailable": "the store is in trouble",
}


class Keys(msgspec.Struct, frozen=True):
    """The value of a secret; `account_key` alone is what truss documents."""

    account_key: str = ""
    sas_token: str = ""
    endpoint_url: str = ""


@asynccontextmanager
async def container(source: str, address: Address, access: Access) -> AsyncIterator[Source]:
    keys = _keys(source, access.secret)
    account = address.account or ""
    endpoint = keys.endpoint_url or access.surroundings.get("AZURE_STORAGE_SERVICE_ENDPOINT")
    opened = ContainerClient(
        (endpoint or f"https://{account}.blob.core.windows.net").rstrip("/"),
        address.place,
        credential=_credential(source, account, keys),
        retry_total=0,  # Who reads tries again, at one place for all sources.
        connection_timeout=30,
        read_timeout=60,
    )
    async with opened as client:
        yield Container(source, address, client, endpoint or account)


class Container:
    def __init__(self, source: str, address: Address, client: ContainerClient, account: str) -> None:
        self._source = source
        self._address = address
        self._client = client
        self._account = account

    async def pin(self, revision: str | None) -> Listing:
        return pinned(self._source, await below(self._source, self._address.path, self._listed), revision)

    async def stream(self, file: SourceFile, start: int) -> AsyncIterator[bytes]:
        async def read(at: int, length: int) -> bytes:
            try:
                return await self._read(file, at, length, {"etag": file.etag, **_UNMODIFIED})
            except SourceFailed as failed:
                if file.version is None or failed.kind not in ("changed", "missing"):
                    raise
            return await self._read(file, at, length, {"version_id": file.version})

        async for body in pipelined(read, start, file.size):
            yield body

    async def _listed(self, prefix: str) -> list[SourceFile]:
        async def ask() -> list[SourceFile]:
            try:
                found = self._client.list_blobs(name_starts_with=prefix or None)
                return [self._file(blob, prefix) async for blob in found if not blob.name.endswith("/")]
            except (AzureError, OSError, TimeoutError) as error:
                raise _failed(self._source, error) from error

        return await tried(ask)

    async def _read(self, file: SourceFile, start: int, length: int, which: dict[str, Any]) -> bytes:
        name = f"{self._source} ({file.location})"
        try:
            blob = self._client.get_blob_client(file.location)
            stream = await blob.download_blob(offset=start, length=length, decompress=False, **which)
            body: bytes = await stream.readall()
        except (AzureError, OSError, TimeoutError) as error:
            failed = _failed(name, error)
            if failed.kind == "missing":  # It was listed: it has been removed.
                raise SourceFailed("changed", f"{name}: {_FIXES['changed']}") from error
            raise failed from error
        if len(body) != length:
            raise SourceFailed("unavailable", f"{name}: {len(body)} of {length} bytes came")
        return body

    def _file(self, blob: BlobProperties, prefix: str) -> SourceFile:
        md5 = blob.content_settings.content_md5
        return SourceFile(
            path_below(blob.name, prefix),
            blob.size,
            identity=f"azure:{self._account}/{self._address.place}/{blob.name}\0{blob.etag}\0{blob.size}",
            location=blob.name,
            etag=f'"{blob.etag}"',  # A listing leaves the quotes out, a condition needs them.
            version=blob.version_id,
            stated=Stated("md5", bytes(md5).hex()) if md5 else None,
        )


_UNMODIFIED = {"match_condition": MatchConditions.IfNotModified}


def _keys(source: str, secret: str | None) -> Keys:
    if secret is None:
        return Keys()
    try:
        keys = msgspec.json.decode(secret, type=Keys)
    except msgspec.MsgspecError as error:
        raise SourceFailed("invalid", f"{source}: the secret is not what it must be, JSON {_FORMAT}: {error}") from None
    if bool(keys.account_key) == bool(keys.sas_token):
        raise SourceFailed("invalid", f"{source}: the secret must hold one key: write JSON {_FORMAT}")
    try:
        base64.b64decode(keys.account_key, validate=True)
    except ValueError as error:
        raise SourceFailed("invalid", f"{source}: the secret's `account_key` is not base64: {error}") from None
    return keys


def _credential(source: str, account: str, keys: Keys) -> AzureNamedKeyCredential | AzureSasCredential | None:
    if keys.account_key:
        return AzureNamedKeyCredential(account, keys.account_key)
    return AzureSasCredential(keys.sas_token.removeprefix("?")) if keys.sas_token else None


def _failed(name: str, error: Exception) -> SourceFailed:
    if isinstance(error, HttpResponseError) and error.status_code is not None:
        kind = _KINDS.get(error.status_code, "unavailable")
        code = getattr(error, "error_code", None) or ""
        return SourceFailed(kind, f"{name} answered {error.status_code} {code}: {_FIXES[kind]}")
    return SourceFailed("unavailable", f"{name} cannot be reached: {error!r}")
