"""Sources other than the hub: a bucket, a URL, a folder. What is pinned is what is read, or it is said why not."""

import hashlib
import os
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

import pytest
from aiohttp import web

from agents.effects.weights_buckets import pin
from agents.effects.weights_http import SingleFile, session
from agents.effects.weights_sources import Access, Listing, Source, SourceFailed, Stated, open_source
from agents.weights.wanted import Address, BadSource, Wanted, address_of, selected
from projections.stores.objects import FolderObjects
from tests.weights.s3 import S3, s3

__all__ = ["s3"]
BODY = Random(3).randbytes(5_000_000)


async def read(source: Source, listing: Listing, start: int = 0) -> dict[str, bytes]:
    return {
        file.path: b"".join([part async for part in source.stream(file, start)]) for file in listing.files if file.size
    }


@pytest.mark.parametrize(
    ("source", "address"),
    [
        ("hf://owner/repo", Address("hf", "owner/repo")),
        ("hf://owner/repo@v1.0", Address("hf", "owner/repo", revision="v1.0")),
        ("s3://bucket/a/b/", Address("s3", "bucket", "a/b")),
        ("r2://account.bucket/a", Address("r2", "bucket", "a", account="account")),
        ("azure://account/container/a/b", Address("azure", "container", "a/b", account="account")),
        ("https://host/a?b=c", Address("https", "https://host/a?b=c")),
        ("file:///srv/models", Address("file", "/srv/models")),
    ],
)
def test_an_address_is_taken_apart(source: str, address: Address) -> None:
    assert address_of(source) == address


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("owner/repo", "must begin with one of hf://"),
        ("ftp://host/a", "must begin with one of hf://"),
        ("hf://", "names nothing: write hf://owner/repo@revision"),
        ("hf://a/b/c", "is not a repository"),
        ("r2://bucket/a", "lacks account or bucket"),
        ("azure://account", "lacks the container"),
        ("file://../up", "must name an absolute folder"),
    ],
)
def test_what_is_no_address_is_refused_with_the_fix(source: str, why: str) -> None:
    with pytest.raises(BadSource, match=why):
        address_of(source)
    with pytest.raises(SourceFailed, match=why):
        open_source(source, Access(None, {}))


def test_patterns_and_the_order_of_need() -> None:
    paths = ["b/model-10.safetensors", "b/model-9.safetensors", "tokenizer.json", "README.md", "b/config.json"]
    wanted = Wanted("hf://a/b", "/w", allow=("b/", "*.json"), ignore=("*-10*",))
    assert selected(paths, wanted) == ["b/config.json", "tokenizer.json", "b/model-9.safetensors"]
    assert selected(paths, Wanted("hf://a/b", "/w"))[-2:] == ["b/model-9.safetensors", "b/model-10.safetensors"]


class TestBucket:
    @pytest.fixture
    async def bucket(self, s3: S3) -> str:
        return await s3.bucket()

    @pytest.fixture
    async def client(self, s3: S3) -> AsyncIterator[Any]:
        async with s3.client() as client:
            yield client

    async def test_a_prefix_is_a_folder(self, s3: S3, bucket: str, client: Any) -> None:
        odd = "sub/ä + b=c&d%20.bin"
        for key, body in {"llm/a.bin": BODY, f"llm/{odd}": b"b", "llm/sub/": b"", "llmother": b"no"}.items():
            await client.put_object(Bucket=bucket, Key=key, Body=body)
        async with open_source(f"s3://{bucket}/llm", s3.access()) as source:
            listing = await source.pin(None)
            assert await read(source, listing) == {"a.bin": BODY, odd: b"b"}
            assert listing.files[0].stated == Stated("md5", hashlib.md5(BODY).hexdigest())
            assert (await read(source, listing, start=len(BODY) - 10))["a.bin"] == BODY[-10:]
            assert (await source.pin(listing.revision)) == listing
        async with open_source(f"s3://{bucket}/llm/a.bin", s3.access()) as source:
            assert await read(source, await source.pin(None)) == {"a.bin": BODY}

    async def test_a_sha256_that_the_store_knows_is_used(self, s3: S3, bucket: str, client: Any) -> None:
        """Ceph keeps none, and the ETag has to do: here it is an MD5 all the same."""
        await client.put_object(Bucket=bucket, Key="a", Body=b"x", ChecksumAlgorithm="SHA256")
        head = await client.head_object(Bucket=bucket, Key="a", ChecksumMode="ENABLED")
        by_md5, by_sha256 = hashlib.md5(b"x").hexdigest(), hashlib.sha256(b"x").hexdigest()
        known = Stated("sha256", by_sha256) if "ChecksumSHA256" in head else Stated("md5", by_md5)
        async with open_source(f"s3://{bucket}", s3.access()) as source:
            assert (await source.pin(None)).files[0].stated == known

    async def test_what_was_uploaded_in_parts_states_no_hash_and_is_read_whole(
        self, s3: S3, bucket: str, client: Any
    ) -> None:
        parts, place = (BODY + bytes(1 << 20), BODY[::-1]), {"Bucket": bucket, "Key": "m/a"}
        upload = (await client.create_multipart_upload(**place))["UploadId"]
        sent = [
            {
                "PartNumber": number,
                "ETag": (await client.upload_part(**place, UploadId=upload, PartNumber=number, Body=BytesIO(part)))[
                    "ETag"
                ],
            }
            for number, part in enumerate(parts, 1)
        ]
        await client.complete_multipart_upload(**place, UploadId=upload, MultipartUpload={"Parts": sent})
        async with open_source(f"s3://{bucket}/m", s3.access()) as source:
            listing = await source.pin(None)
            assert listing.files[0].stated is None and "-" in str(listing.files[0].etag)
            assert await read(source, listing) == {"a": b"".join(parts)}

    async def test_what_changed_under_the_pin_is_not_read(self, s3: S3, bucket: str, client: Any) -> None:
        await client.put_object(Bucket=bucket, Key="m/a", Body=b"one")
        async with open_source(f"s3://{bucket}/m", s3.access()) as source:
            listing = await source.pin(None)
            await client.put_object(Bucket=bucket, Key="m/a", Body=b"two")
            with pytest.raises(SourceFailed, match="changed after it was pinned: push again") as failed:
                await read(source, listing)
            assert failed.value.kind == "changed"
            with pytest.raises(SourceFailed, match="changed after it was pinned") as failed:
                await source.pin(listing.revision)

    async def test_where_versions_are_kept_what_was_pinned_is_read(
        self, s3: S3, bucket: str, client: Any, tmp_path: Path
    ) -> None:
        """Overwritten, removed, and asked for again by who comes later."""
        await client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        for key in ("m/a", "m/b"):
            await client.put_object(Bucket=bucket, Key=key, Body=key.encode())
        objects, was = FolderObjects(tmp_path), {"a": b"m/a", "b": b"m/b"}
        async with open_source(f"s3://{bucket}/m", s3.access()) as source:
            listing = await pin(source, None, objects)
            await client.put_object(Bucket=bucket, Key="m/a", Body=b"two")
            await client.delete_object(Bucket=bucket, Key="m/b")
            assert await read(source, listing) == was
            assert await pin(source, listing.revision, objects) == listing
            assert await read(source, await pin(source, None, objects)) == {"a": b"two"}
            await client.delete_object(Bucket=bucket, Key="m/a", VersionId=listing.files[0].version)
            with pytest.raises(SourceFailed, match="push again") as failed:
                await read(source, listing)
            assert failed.value.kind == "changed"

    async def test_a_pin_that_nobody_noted_is_gone_with_what_it_named(
        self, s3: S3, bucket: str, client: Any, tmp_path: Path
    ) -> None:
        await client.put_object(Bucket=bucket, Key="m/a", Body=b"one")
        objects = FolderObjects(tmp_path)
        async with open_source(f"s3://{bucket}/m", s3.access()) as source:
            listing = await pin(source, None, objects)
            assert await pin(source, listing.revision, objects) == listing
            assert [each async for each in objects.list("weights/pins/")] == [], "nothing in it outlives a change"
            await client.put_object(Bucket=bucket, Key="m/a", Body=b"two")
            with pytest.raises(SourceFailed, match="changed after it was pinned: push again"):
                await pin(source, listing.revision, objects)

    async def test_missing_and_bad_secrets_are_told(self, s3: S3, bucket: str) -> None:
        for name in ("s3://nobody-has-this/x", f"s3://{bucket}/nothing"):
            with pytest.raises(SourceFailed, match="check bucket and path") as failed:
                async with open_source(name, s3.access()) as source:
                    await source.pin(None)
            assert failed.value.kind == "missing"
        for secret, why in (("sk-123", "the secret is not what it must be, JSON"), ("{}", "the secret lacks a key")):
            with pytest.raises(SourceFailed, match=why):
                async with open_source(f"s3://{bucket}", Access(secret, {})):
                    pass
        with pytest.raises(SourceFailed, match="put the store's `endpoint_url` into the secret"):
            async with open_source("cw://models/a", Access(None, {})):
                pass


class Web:
    """One file by HTTP, from a server of several minds."""

    def __init__(self) -> None:
        self.body, self.etag, self.ranges, self.status = BODY, '"1"', True, 200

    async def answer(self, request: web.Request) -> web.Response:
        if self.status != 200:
            return web.Response(status=self.status)
        part = request.http_range
        if not self.ranges or "Range" not in request.headers:
            return web.Response(body=self.body, headers={"ETag": self.etag})
        stop = min(part.stop or len(self.body), len(self.body))
        headers = {"ETag": self.etag, "Content-Range": f"bytes {part.start}-{stop - 1}/{len(self.body)}"}
        return web.Response(status=206, body=self.body[part.start : stop], headers=headers)


class TestSingleFile:
    @pytest.fixture
    async def server(self) -> AsyncIterator[tuple[Web, str]]:
        served = Web()
        app = web.Application()
        app.router.add_get("/{path:.*}", served.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield served, f"http://127.0.0.1:{runner.addresses[0][1]}/models/a%20b.gguf?signature=secret"
        await runner.cleanup()

    @pytest.mark.parametrize("ranges", [True, False])
    async def test_it_is_a_folder_of_one_file(self, server: tuple[Web, str], ranges: bool) -> None:
        served, url = server
        served.ranges = ranges
        async with session({}) as client:
            source = SingleFile(client, url)
            listing = await source.pin(None)
            assert await read(source, listing) == {"a b.gguf": BODY}
            assert (await read(source, listing, start=4_999_990))["a b.gguf"] == BODY[-10:]

    async def test_another_file_under_the_address_is_noticed(self, server: tuple[Web, str]) -> None:
        served, url = server
        async with session({}) as client:
            source = SingleFile(client, url)
            listing = await source.pin(None)
            served.etag = '"2"'
            with pytest.raises(SourceFailed, match="changed after it was listed") as failed:
                await read(source, listing)
            assert failed.value.kind == "changed" and "signature" not in failed.value.reason
            with pytest.raises(SourceFailed, match="changed after it was pinned"):
                await source.pin(listing.revision)

    @pytest.mark.parametrize(("status", "kind"), [(404, "missing"), (403, "private"), (410, "missing")])
    async def test_a_refusal_is_told(self, server: tuple[Web, str], status: int, kind: str) -> None:
        served, url = server
        served.status = status
        async with session({}) as client:
            with pytest.raises(SourceFailed, match=f"answered {status}") as failed:
                await SingleFile(client, url).pin(None)
            assert failed.value.kind == kind


class TestFolder:
    async def test_only_below_what_is_allowed(self, tmp_path: Path) -> None:
        inside, outside = tmp_path / "allowed" / "model", tmp_path / "outside"
        (inside / "sub").mkdir(parents=True)
        outside.mkdir()
        (inside / "sub" / "a.bin").write_bytes(BODY)
        (tmp_path / "allowed" / "link").symlink_to(outside)
        access = Access(None, {}, (str(tmp_path / "allowed"),))
        async with open_source(f"file://{inside}", access) as source:
            listing = await source.pin(None)
            assert await read(source, listing) == {"sub/a.bin": BODY}
            os.utime(inside / "sub" / "a.bin", (1, 1))
            with pytest.raises(SourceFailed, match="changed after it was listed"):
                await read(source, listing)
            (inside / "way-out").symlink_to("/etc/hostname")
            with pytest.raises(SourceFailed, match="leads out of"):
                await source.pin(None)
        for path in (outside, tmp_path / "allowed" / "link"):
            with pytest.raises(SourceFailed, match="is not below a folder that CAUSEWAY_WEIGHTS_FOLDERS allows"):
                async with open_source(f"file://{path}", access):
                    pass
        with pytest.raises(SourceFailed, match="is not a folder"):
            async with open_source(f"file://{tmp_path}/allowed/none", access) as source:
                await source.pin(None)
