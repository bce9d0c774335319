"""Objects in an S3 bucket, by aioboto3, at any endpoint; credentials are the operator's, from the AWS variables.

What is asked for each chunk is first asked past the client (`s3_direct.py`). No conditional write is relied upon: what
lies under a key never differs. A body is checked on the way in by the SHA-256 that is signed with it or by its MD5, on
the way out by its length. `objects.py` imports this only where a bucket is used: the client takes a second.
"""

import hashlib
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from typing import Any

import aioboto3
import aiohttp
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from agents.effects.s3_direct import Direct, direct
from projections.stores.objects import ObjectMissing, Objects, Stored, StoreUnavailable

_ABSENT = ("NoSuchKey", "404", "NotFound")


@asynccontextmanager
async def open_bucket(store: str, surroundings: Mapping[str, str]) -> AsyncIterator[Objects]:
    bucket, _, prefix = store.removeprefix("s3://").partition("/")
    endpoint = surroundings.get("AWS_ENDPOINT_URL_S3") or surroundings.get("AWS_ENDPOINT_URL") or None
    session = aioboto3.Session(
        aws_access_key_id=surroundings.get("AWS_ACCESS_KEY_ID"),
        aws_secret_access_key=surroundings.get("AWS_SECRET_ACCESS_KEY"),
        aws_session_token=surroundings.get("AWS_SESSION_TOKEN"),
        region_name=surroundings.get("AWS_REGION") or surroundings.get("AWS_DEFAULT_REGION") or "us-east-1",
    )
    client = session.client(
        "s3",
        endpoint_url=endpoint,
        config=Config(
            s3={"addressing_style": "path" if endpoint else "auto"},
            retries={"mode": "standard", "max_attempts": 3},
            connect_timeout=20,
            read_timeout=60,
            max_pool_connections=32,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
    async with client as opened, direct(opened, await session.get_credentials(), bucket, surroundings) as first:
        yield S3Objects(opened, first, bucket, f"{prefix.strip('/')}/" if prefix.strip("/") else "")


class S3Objects:
    """`client` is aioboto3's; `first` is asked before it."""

    def __init__(self, client: Any, first: Direct, bucket: str, prefix: str = "") -> None:
        self._client = client
        self._first = first
        self._bucket = bucket
        self._prefix = prefix

    async def put(self, key: str, body: bytes | memoryview) -> None:
        if await self._first.ask("PUT", self._prefix + key, body=body):
            return
        md5 = b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        with _told(key):
            await self._client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=bytes(body), ContentMD5=md5)

    async def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        if length == 0:
            return b""
        end = "" if length is None else str(start + length - 1)
        options = {"Range": f"bytes={start}-{end}"} if start or length is not None else {}
        if (found := await self._first.ask("GET", self._prefix + key, options)) and (found.status == 206) == bool(
            options
        ):
            return found.body
        with _told(key):
            try:
                answer = await self._client.get_object(Bucket=self._bucket, Key=self._prefix + key, **options)
            except ClientError as error:
                if _code(error) == "InvalidRange":  # From the end on there is nothing, as in a file.
                    return b""
                raise
            async with answer["Body"] as stream:
                body: bytes = await stream.read()
        if len(body) != answer["ContentLength"]:
            raise StoreUnavailable(f"{key}: {len(body)} of {answer['ContentLength']} bytes came")
        return body

    async def size(self, key: str) -> int | None:
        if found := await self._first.ask("HEAD", self._prefix + key):
            if found.status == 404:
                return None
            if length := found.headers.get("Content-Length"):
                return int(length)
        try:
            with _told(key):
                head = await self._client.head_object(Bucket=self._bucket, Key=self._prefix + key)
        except ObjectMissing:
            return None
        size: int = head["ContentLength"]
        return size

    async def list(self, prefix: str) -> AsyncIterator[Stored]:
        with _told(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + prefix
            )
            async for page in pages:
                for found in page.get("Contents", ()):
                    modified: datetime = found["LastModified"]
                    yield Stored(found["Key"].removeprefix(self._prefix), found["Size"], modified.timestamp())

    async def remove(self, key: str) -> None:
        with _told(key):
            await self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key)


@contextmanager
def _told(key: str) -> Iterator[None]:
    """What the client raises, in the words of the port."""
    try:
        yield
    except ClientError as error:
        if _code(error) in _ABSENT:
            raise ObjectMissing(f"no object {key}") from None
        raise StoreUnavailable(f"{key}: {error}") from error
    except (BotoCoreError, OSError, TimeoutError, aiohttp.ClientError) as error:
        raise StoreUnavailable(f"{key}: the store cannot be reached: {error!r}") from error


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
