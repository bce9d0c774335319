"""Weights from S3 and what speaks as it does (`s3://`, `r2://`, `cw://`), by aioboto3, at any endpoint.

Credentials are those of the named secret and never the operator's own; without one the bucket must be public. The pin
is a digest of all keys with their ETags; every read demands the ETag that was listed. Where the bucket keeps versions,
what has been overwritten or removed since is read by its version. What is plain is read past the client
(`s3_direct.py`).
"""

import asyncio
import base64
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aioboto3
import msgspec
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError
from botocore.utils import is_valid_endpoint_url

from agents.effects.s3_direct import Direct, direct
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
    said,
)
from agents.weights.wanted import Address

_FORMAT = '{"access_key_id": …, "secret_access_key": …, "region": …, "endpoint_url": … (optional)}'
_MD5 = re.compile(r"[0-9a-f]{32}")
_KINDS: dict[str, FailureKind] = {
    "NoSuchBucket": "missing", "NoSuchKey": "missing", "NoSuchVersion": "missing", "404": "missing",
    "AccessDenied": "private", "403": "private", "InvalidAccessKeyId": "private", "SignatureDoesNotMatch": "private",
    "ExpiredToken": "private", "InvalidToken": "private",
    "PermanentRedirect": "moved", "301": "moved", "AuthorizationHeaderMalformed": "moved",
    "PreconditionFailed": "changed", "412": "changed", "InvalidRange": "changed", "416": "changed",
}  # fmt: skip
_FIXES: dict[FailureKind, str] = {
    "missing": "check bucket and path",
    "private": f"name a secret that may read it as `auth_secret_name`: {_FORMAT}",
    "moved": "it is in another region: put its `region` into the secret",
    "changed": "it changed after it was pinned: push again",
}


class Keys(msgspec.Struct, frozen=True):
    """The value of a secret, in truss's words or in those of AWS."""

    access_key_id: str | None = None
    secret_access_key: str | None = None
    aws_access_key_id: str | None = None
    aws_secret_access_key: str | None = None
    session_token: str | None = None
    aws_session_token: str | None = None
    region: str | None = None
    aws_region: str | None = None
    endpoint_url: str | None = None


@asynccontextmanager
async def bucket(source: str, address: Address, access: Access) -> AsyncIterator[Source]:
    keys = _keys(source, access.secret)
    endpoint = _endpoint(source, address, access, keys)
    path_style = Config(
        signature_version="s3v4" if access.secret else UNSIGNED,
        s3={"addressing_style": "path" if endpoint else "auto"},
        retries={"mode": "standard", "max_attempts": 6},
        connect_timeout=30,
        read_timeout=60,
        max_pool_connections=32,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    session = aioboto3.Session(
        aws_access_key_id=keys.access_key_id or keys.aws_access_key_id,
        aws_secret_access_key=keys.secret_access_key or keys.aws_secret_access_key,
        aws_session_token=keys.session_token or keys.aws_session_token,
        region_name=keys.region or keys.aws_region or ("auto" if address.scheme == "r2" else "us-east-1"),
    )
    credentials = await session.get_credentials() if access.secret else None
    async with (
        session.client("s3", endpoint_url=endpoint, config=path_style) as client,
        direct(client, credentials, address.place, access.surroundings) as first,
    ):
        yield Bucket(source, address, client, first, endpoint or "aws")


class Bucket:
    def __init__(self, source: str, address: Address, client: Any, first: Direct, endpoint: str) -> None:
        self._source = source
        self._address = address
        self._client = client
        self._first = first
        self._endpoint = endpoint

    async def pin(self, revision: str | None) -> Listing:
        files = await below(self._source, self._address.path, self._listed)
        return pinned(self._source, await self._looked_at(files), revision)

    async def stream(self, file: SourceFile, start: int) -> AsyncIterator[bytes]:
        async def read(at: int, length: int) -> bytes:
            wanted = {"Range": f"bytes={at}-{at + length - 1}", "If-Match": file.etag or ""}
            found = await self._first.ask("GET", file.location, wanted)
            if found and len(found.body) == length and found.headers.get("ETag") == file.etag:
                return found.body
            try:
                return await self._read(file, at, length, IfMatch=file.etag)
            except SourceFailed as failed:
                if file.version is None or failed.kind not in ("changed", "missing"):
                    raise
            return await self._read(file, at, length, VersionId=file.version)

        async for body in pipelined(read, start, file.size):
            yield body

    async def _read(self, file: SourceFile, start: int, length: int, **which: str | None) -> bytes:
        name = f"{self._source} ({file.location})"
        try:
            answer = await self._client.get_object(
                Bucket=self._address.place,
                Key=file.location,
                Range=f"bytes={start}-{start + length - 1}",
                **which,
            )
            async with answer["Body"] as stream:
                body: bytes = await stream.read()
        except (ClientError, BotoCoreError, OSError, TimeoutError) as error:
            failed = _failed(name, error)
            if failed.kind == "missing":  # It was listed: it has been removed.
                raise SourceFailed("changed", f"{name}: {_FIXES['changed']}") from error
            raise failed from error
        # A store that overlooks IfMatch tells the ETag of what it sent all the same.
        if answer.get("ETag", file.etag) != file.etag:
            raise SourceFailed("changed", f"{name}: {_FIXES['changed']}")
        if len(body) != length:
            raise SourceFailed("unavailable", f"{name}: {len(body)} of {length} bytes came")
        return body

    async def _listed(self, prefix: str) -> list[SourceFile]:
        try:
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._address.place, Prefix=prefix)
            return [
                self._file(found, prefix)
                async for page in pages
                for found in page.get("Contents", ())
                if not found["Key"].endswith("/")  # A console's folder.
            ]
        except (ClientError, BotoCoreError, OSError, TimeoutError) as error:
            raise _failed(self._source, error) from error

    async def _looked_at(self, files: list[SourceFile]) -> list[SourceFile]:
        """With what the store states of each."""
        room = asyncio.Semaphore(16)

        async def look(file: SourceFile) -> SourceFile:
            async with room:
                head = await self._head(file)
            version = head.get("VersionId", "null")
            return msgspec.structs.replace(file, stated=_stated(head), version=version if version != "null" else None)

        return list(await asyncio.gather(*map(look, files)))

    async def _head(self, file: SourceFile) -> dict[str, Any]:
        try:
            head: dict[str, Any] = await self._client.head_object(
                Bucket=self._address.place, Key=file.location, IfMatch=file.etag, ChecksumMode="ENABLED"
            )
        except (ClientError, BotoCoreError, OSError, TimeoutError) as error:
            raise _failed(f"{self._source} ({file.location})", error) from error
        return head

    def _file(self, found: dict[str, Any], prefix: str) -> SourceFile:
        key, etag, size = found["Key"], found["ETag"], found["Size"]
        return SourceFile(
            path_below(key, prefix),
            size,
            identity=f"s3:{self._endpoint}/{self._address.place}/{key}\0{etag}\0{size}",
            location=key,
            etag=etag,
        )


def _stated(head: dict[str, Any]) -> Stated | None:
    """An ETag is an MD5 only where nothing but one plain upload made it."""
    sha256, etag = head.get("ChecksumSHA256", ""), head["ETag"].strip('"')
    if len(sha256) == 44:  # Base64 of 32 bytes: of the whole object, not of its parts.
        return Stated("sha256", base64.b64decode(sha256).hex())
    plain = head.get("ServerSideEncryption", "AES256") == "AES256" and "SSECustomerAlgorithm" not in head
    return Stated("md5", etag) if plain and _MD5.fullmatch(etag) else None


def _keys(source: str, secret: str | None) -> Keys:
    if secret is None:
        return Keys()
    try:
        keys = msgspec.json.decode(secret, type=Keys)
    except msgspec.MsgspecError as error:
        raise SourceFailed("invalid", f"{source}: the secret is not what it must be, JSON {_FORMAT}: {error}") from None
    if not (keys.access_key_id or keys.aws_access_key_id) or not (keys.secret_access_key or keys.aws_secret_access_key):
        raise SourceFailed("invalid", f"{source}: the secret lacks a key: write JSON {_FORMAT}")
    return keys


def _endpoint(source: str, address: Address, access: Access, keys: Keys) -> str | None:
    if keys.endpoint_url:
        if not is_valid_endpoint_url(keys.endpoint_url) or not keys.endpoint_url.startswith(("https://", "http://")):
            example = "write one such as https://s3.example.com"
            raise SourceFailed("invalid", f"{source}: the secret's `endpoint_url` is no address: {example}")
        return keys.endpoint_url
    if address.scheme == "r2":
        return f"https://{address.account}.r2.cloudflarestorage.com"
    if address.scheme == "cw":
        raise SourceFailed("invalid", f"{source}: put the store's `endpoint_url` into the secret: {_FORMAT}")
    return access.surroundings.get("AWS_ENDPOINT_URL_S3") or access.surroundings.get("AWS_ENDPOINT_URL") or None


def _failed(name: str, error: Exception) -> SourceFailed:
    if isinstance(error, ClientError):
        code = str(error.response.get("Error", {}).get("Code", ""))
        kind = _KINDS.get(code, "unavailable")
        fix = f": {_FIXES[kind]}" if kind in _FIXES else ""
        return SourceFailed(kind, f"{name}: {code} {error.response.get('Error', {}).get('Message', '')}{fix}")
    if isinstance(error, HTTPClientError | ConnectionError | OSError | asyncio.TimeoutError):
        return SourceFailed("unavailable", f"{name} cannot be reached: {said(error)}")
    return SourceFailed("invalid", f"{name}: {said(error)}")
