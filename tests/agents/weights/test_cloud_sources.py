"""gs:// and azure:// by their real clients against endpoints on this machine: by the rules of S3."""

import base64
import gzip
import hashlib
import json
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
from google_crc32c import value as crc32c

from agents.effects.weights_buckets import pin
from agents.effects.weights_sources import Access, SourceFailed, Stated, open_source
from agents.weights.mirror import Mirror, Moved
from agents.weights.store import verify
from agents.weights.wanted import Wanted
from projections.stores.objects import FolderObjects
from tests.agents.weights.test_sources import read
from tests.weights import azure_blobs, gcs
from tests.weights.azure_blobs import AzureBlobs
from tests.weights.gcs import Gcs

BODY = Random(5).randbytes(5_000_000)
FOLDER = {"llm/a.bin": BODY, "llm/sub/b": b"b", "llm/sub/": b"", "llm/c d&é": b"c", "llmother": b"no"}


class Cloud:
    """One of the two, in the words of both."""

    def __init__(self, server: Gcs | AzureBlobs) -> None:
        self.server = server
        if isinstance(server, Gcs):
            self.scheme, self.surroundings = "gs://models", {"STORAGE_EMULATOR_HOST": server.url}
        else:
            self.scheme, self.surroundings = "azure://models/models", {"AZURE_STORAGE_SERVICE_ENDPOINT": server.url}

    def put(self, name: str, body: bytes, **but: Any) -> None:
        self.server.put("models", name, body, **but)

    def remove(self, name: str) -> None:
        """Without a trace."""
        objects: dict[str, Any] = (
            self.server.buckets["models"] if isinstance(self.server, Gcs) else self.server.containers["models"]
        )
        del objects[name]

    @property
    def secret(self) -> str:
        return self.server.secret() if isinstance(self.server, Gcs) else json.dumps({"account_key": azure_blobs.KEY})

    def open(self, path: str = "", secret: str | None = None) -> Any:
        return open_source(f"{self.scheme}{path}", Access(secret, self.surroundings))

    async def failing(self, path: str = "", secret: str | None = None) -> SourceFailed:
        with pytest.raises(SourceFailed) as failed:
            async with self.open(path, secret) as source:
                await source.pin(None)
        return failed.value


@pytest.fixture(params=["gcs", "azure"])
async def cloud(request: pytest.FixtureRequest) -> AsyncIterator[Cloud]:
    server = Gcs() if request.param == "gcs" else AzureBlobs()
    running: Any = gcs.running if request.param == "gcs" else azure_blobs.running
    async with running(server):
        yield Cloud(server)


@pytest.mark.parametrize("is_private", [False, True])
async def test_a_prefix_is_a_folder(cloud: Cloud, is_private: bool) -> None:
    for name, body in FOLDER.items():
        cloud.put(name, body)
    cloud.server.private, secret = is_private, cloud.secret if is_private else None
    async with cloud.open("/llm", secret) as source:
        listing = await source.pin(None)
        assert await read(source, listing) == {"a.bin": BODY, "sub/b": b"b", "c d&é": b"c"}
        assert listing.files[0].stated == Stated("md5", hashlib.md5(BODY).hexdigest())
        assert (await read(source, listing, start=len(BODY) - 10))["a.bin"] == BODY[-10:]
        assert await source.pin(listing.revision) == listing
    async with cloud.open("/llm/a.bin", secret) as source:
        assert await read(source, await source.pin(None)) == {"a.bin": BODY}
    async with cloud.open("", secret) as source:
        assert len((await source.pin(None)).files) == 4


async def test_what_changed_under_the_pin_is_not_read(cloud: Cloud) -> None:
    cloud.server.versioned = False
    cloud.put("m/a", b"one")
    async with cloud.open("/m") as source:
        listing = await source.pin(None)
        for change in (partial(cloud.put, "m/a", b"two"), partial(cloud.remove, "m/a")):
            change()
            with pytest.raises(SourceFailed, match="push again") as failed:
                await read(source, listing)
            assert failed.value.kind == "changed"
            cloud.put("m/b", b"another")
            with pytest.raises(SourceFailed, match="changed after it was pinned"):
                await source.pin(listing.revision)


async def test_what_has_versions_is_read_as_it_was_pinned(cloud: Cloud, tmp_path: Path) -> None:
    """Also by who comes later: the pin's listing is in the blob store."""
    cloud.server.versioned, objects = True, FolderObjects(tmp_path)
    cloud.put("m/a", BODY)
    cloud.put("m/b", b"b")
    async with cloud.open("/m") as source:
        listing = await pin(source, None, objects)
        cloud.put("m/a", b"two")
        assert await read(source, listing) == {"a": BODY, "b": b"b"}
    async with cloud.open("/m") as source:
        again = await pin(source, listing.revision, objects)
        assert again == listing and await read(source, again) == {"a": BODY, "b": b"b"}
        assert await read(source, await pin(source, None, objects)) == {"a": b"two", "b": b"b"}
        with pytest.raises(SourceFailed, match="changed after it was pinned"):
            await pin(source, "0" * 16, objects)


async def test_missing_private_and_bad_secrets_are_told(cloud: Cloud) -> None:
    cloud.put("m/a", b"1")
    for path in ("/nothing", "/m/a/b"):
        failed = await cloud.failing(path)
        assert failed.kind == "missing" and "check bucket and path" in failed.reason
    cloud.server.private = True
    failed = await cloud.failing("/m")
    assert failed.kind in ("private", "missing") and "secret" in failed.reason
    for secret, why in (("sk-123", "the secret is not what it must be"), ('{"type": 3}', "the secret")):
        failed = await cloud.failing("/m", secret)
        assert failed.kind == "invalid" and why in failed.reason and secret not in failed.reason


async def test_passing_failures_pass(cloud: Cloud) -> None:
    cloud.put("m/a", BODY)
    cloud.server.failures = 2
    async with cloud.open("/m") as source:
        listing = await source.pin(None)
        cloud.server.failures = 2
        assert await read(source, listing) == {"a": BODY}


async def test_what_is_out_of_reach_is_said_to_be(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.effects.weights_sources._TRIES", 1)
    cloud.surroundings = dict.fromkeys(cloud.surroundings, "http://127.0.0.1:9")
    failed = await cloud.failing("/m")
    assert failed.kind == "unavailable" and "cannot be reached" in failed.reason


async def test_what_is_stored_compressed_is_taken_as_it_is_stored(cloud: Cloud) -> None:
    packed = gzip.compress(b'{"layers": 2}' * 100)
    cloud.put("m/config.json", packed, encoding="gzip")
    async with cloud.open("/m") as source:
        listing = await source.pin(None)
        assert await read(source, listing) == {"config.json": packed}
        assert listing.files[0].stated == Stated("md5", hashlib.md5(packed).hexdigest())


async def test_it_is_mirrored_by_patterns_and_checked(cloud: Cloud, tmp_path: Path) -> None:
    cloud.put("m/model-1.safetensors", BODY)
    cloud.put("m/model-2.safetensors", BODY[::-1], **({"composed": True} if cloud.scheme[0] == "g" else {"md5": False}))
    cloud.put("m/onnx/model.onnx", b"no")
    objects, wanted = (
        FolderObjects(tmp_path),
        Wanted(f"{cloud.scheme}/m", "/w", allow=("*.safe*", "onnx/"), ignore=("*.onnx",)),
    )
    async with cloud.open("/m") as source:
        listing = await source.pin(None)
        mirrored = await Mirror(objects, tmp_path, Moved()).run(source, listing, wanted)
        assert (mirrored.files, mirrored.bytes) == (2, 10_000_000)
        assert [bad async for bad in verify(objects, [mirrored.manifest_id])] == []
        assert (await Mirror(objects, tmp_path, Moved()).run(source, listing, wanted)).bytes_read == 0


async def test_a_package_that_is_not_installed_is_named(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    package, module, extra = {
        "g": ("gcloud.aio.storage", "agents.effects.weights_gcs", "gcs"),
        "a": ("azure.storage.blob", "agents.effects.weights_azure", "azure"),
    }[cloud.scheme[0]]
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(SourceFailed, match=f"-r requirements/{extra}.txt") as failed:
        cloud.open("/m")
    assert failed.value.kind == "invalid" and package in failed.value.reason
    assert (Path(__file__).parents[3] / "requirements" / f"{extra}.txt").exists()


class TestGcs:
    @pytest.fixture
    async def server(self) -> AsyncIterator[Gcs]:
        async with gcs.running(Gcs(private=True)) as server:
            server.put("models", "m/a", BODY)
            yield server

    async def test_keys_that_open_nothing(self, server: Gcs) -> None:
        cloud, stranger = Cloud(server), Gcs(url=server.url)
        for secret, kind, why in (
            (stranger.secret(), "private", "the secret does not open it .400"),
            (server.secret(private_key="-----BEGIN"), "invalid", "the secret's `private_key` is none"),
            (server.secret(type="authorized_user"), "invalid", "of type 'authorized_user': write"),
            ("{}", "invalid", "lacks|missing required field"),
        ):
            with pytest.raises(SourceFailed, match=why) as failed:
                async with cloud.open("/m", secret) as source:
                    await source.pin(None)
            assert failed.value.kind == kind and "BEGIN" not in failed.value.reason
        server.forbids = True
        assert (await cloud.failing("/m", server.secret())).kind == "private"
        server.forbids = False
        failed_bucket = await _failing_at("gs://nobody-has-this/m", cloud, server.secret())
        assert failed_bucket.kind == "missing"

    async def test_what_was_composed_is_checked_by_its_crc32c(self, server: Gcs, tmp_path: Path) -> None:
        server.put("models", "m/a", BODY, composed=True)
        async with Cloud(server).open("/m", server.secret()) as source:
            listing = await source.pin(None)
            assert listing.files[0].stated == Stated("crc32c", f"{crc32c(BODY):08x}")
            server.buckets["models"]["m/a"][-1].body = BODY[:-1] + b"?"
            with pytest.raises(SourceFailed, match="the bytes that came have crc32c") as failed:
                await Mirror(FolderObjects(tmp_path), tmp_path, Moved()).run(source, listing, Wanted("gs://m", "/w"))
            assert failed.value.kind == "damaged"

    async def test_the_operators_own_credentials_are_never_asked_for(
        self, server: Gcs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "key.json").write_text(server.secret())
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
        assert (await Cloud(server).failing("/m")).kind == "private"


class TestAzure:
    @pytest.fixture
    async def server(self) -> AsyncIterator[AzureBlobs]:
        async with azure_blobs.running(AzureBlobs(private=True)) as server:
            server.put("models", "m/a", BODY)
            yield server

    async def test_a_shared_access_signature_opens_it_too(self, server: AzureBlobs) -> None:
        for sas in (azure_blobs.SAS, f"?{azure_blobs.SAS}"):
            secret = json.dumps({"sas_token": sas, "endpoint_url": server.url})
            async with open_source("azure://models/models/m", Access(secret, {})) as source:
                assert await read(source, await source.pin(None)) == {"a": BODY}

    async def test_keys_that_open_nothing(self, server: AzureBlobs) -> None:
        cloud = Cloud(server)
        other = base64.b64encode(b"another").decode()
        for keys, kind, why in (
            ({"account_key": other}, "private", "answered 403"),
            ({"sas_token": "sv=1&sig=other"}, "private", "answered 403"),
            ({"account_key": "no key"}, "invalid", "`account_key` is not base64"),
            ({}, "invalid", "must hold one key"),
            ({"account_key": other, "sas_token": "sig=x"}, "invalid", "must hold one key"),
        ):
            failed = await cloud.failing("/m", json.dumps(keys))
            assert failed.kind == kind and why in failed.reason and other not in failed.reason
        assert (await _failing_at("azure://models/nobody-has-this/m", cloud, cloud.secret)).kind == "missing"


async def _failing_at(source: str, cloud: Cloud, secret: str) -> SourceFailed:
    with pytest.raises(SourceFailed) as failed:
        async with open_source(source, Access(secret, cloud.surroundings)) as opened:
            await opened.pin(None)
    return failed.value
