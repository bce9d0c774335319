"""Who may read and write: keys that are wrong, keys of nobody, and a bucket that is open to all."""

import asyncio
import re

import pytest

from agents.effects.objects import open_objects
from agents.effects.weights_sources import Access, SourceFailed, open_source
from projections.stores.objects import StoreUnavailable
from tests.weights.s3 import S3, s3

__all__ = ["s3"]


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "SignatureDoesNotMatch"),
        ({"AWS_ACCESS_KEY_ID": "NOBODY"}, "InvalidAccessKeyId"),
    ],
)
async def test_a_store_that_refuses_the_operators_keys_says_so(s3: S3, wrong: dict[str, str], code: str) -> None:
    async with open_objects(f"s3://{await s3.bucket()}/a", s3.surroundings(**wrong)) as objects:
        with pytest.raises(StoreUnavailable, match=code):
            await objects.put("weights/a", b"1")
        with pytest.raises(StoreUnavailable, match=code):
            await objects.read("weights/a")
        with pytest.raises(StoreUnavailable, match="403"):
            await objects.size("weights/a")
        with pytest.raises(StoreUnavailable, match=code):
            [each async for each in objects.list("weights/")]


@pytest.mark.parametrize("wrong", [{"secret_access_key": "wrong"}, {"access_key_id": "NOBODY"}])
async def test_a_source_that_refuses_its_secret_says_which_it_needs(s3: S3, wrong: dict[str, str]) -> None:
    bucket = await s3.bucket()
    with pytest.raises(SourceFailed, match=re.escape("name a secret that may read it")) as failed:
        async with open_source(f"s3://{bucket}", s3.access(**wrong)) as source:
            await source.pin(None)
    assert failed.value.kind == "private"


async def test_without_a_secret_only_what_is_public_is_read(s3: S3) -> None:
    bucket = await s3.bucket()
    nobody = Access(None, s3.surroundings())  # The operator's own keys are never a source's.
    async with s3.client() as client:
        await client.put_object(Bucket=bucket, Key="m/a", Body=b"bytes")
        with pytest.raises(SourceFailed) as failed:
            async with open_source(f"s3://{bucket}/m", nobody) as source:
                await source.pin(None)
        assert failed.value.kind == "private"
        await client.put_bucket_acl(Bucket=bucket, ACL="public-read")
        await client.put_object_acl(Bucket=bucket, Key="m/a", ACL="public-read")
    async with open_source(f"s3://{bucket}/m", nobody) as source:
        (file,) = (await source.pin(None)).files
        assert b"".join([part async for part in source.stream(file, 0)]) == b"bytes"


async def test_a_listing_of_many_pages_is_whole(s3: S3) -> None:
    keys = [f"weights/chunks/{number:04}" for number in range(1100)]
    async with open_objects(f"s3://{await s3.bucket()}/a", s3.surroundings()) as objects:
        for begin in range(0, len(keys), 50):
            await asyncio.gather(*(objects.put(key, b"") for key in keys[begin : begin + 50]))
        assert [each.key async for each in objects.list("weights/")] == keys
