"""Weights through a bucket, as a plane's settings name it: the builder's child fills it, a node needs nothing else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from aiohttp import web

from agents.effects.objects import open_objects
from agents.effects.weights_child import Finished
from agents.effects.weights_mirroring import MirrorFailed
from agents.effects.weights_node import serve_weights
from agents.weights.fetch import Corrupt
from agents.weights.store import verify
from agents.weights.wanted import Wanted
from events.base import NodeId, ReplicaId
from events.log.memory import MemoryLog
from events.weights import Mount
from handlers.clock import SystemClock
from ops.config import Settings, load
from ops.wiring.builder import mirroring_of
from ops.wiring.node import weights_settings
from tests.agents.builder.plant import eventually
from tests.nats import Proxy
from tests.weights.hub import COMMIT, Hub, Repo, running
from tests.weights.s3 import S3, s3

__all__ = ["s3"]
FILES = {"model.safetensors": Random(4).randbytes(16_000_000), "config.json": b"{}"}
ALL = sum(map(len, FILES.values()))
WANTED = Wanted("hf://owner/model", "/weights")


class Site:
    """One machine whose settings name a bucket."""

    def __init__(self, root: Path, hub: Hub, store: str, **aws: str) -> None:
        (root / "work").mkdir()
        self.work = root / "work"
        self.settings: Settings = load(
            {
                "CAUSEWAY_STATE": str(root / "state"),
                "CAUSEWAY_WEIGHTS_STORE": store,
                "PATH": "/usr/bin:/bin",
                "HF_ENDPOINT": hub.url,
                **aws,
            }
        )

    def noted(self) -> int:
        """Chunks of files under way that are stored."""
        most = 0
        for journal in (self.settings.folder("run") / "weights").glob("*.journal"):
            with suppress(FileNotFoundError):  # Its file is whole by now.
                most = max(most, len(journal.read_bytes().splitlines()))
        return most

    async def mirror(self) -> Finished:
        return await mirroring_of(self.settings, MemoryLog()).mirror(
            WANTED, revision=None, secret=None, work=self.work, on_pin=lambda pin: None, on_line=lambda line: None
        )

    async def read(self, done: Finished) -> tuple[dict[str, bytes], int]:
        """What a replica on a node with an empty cache finds, and how much of it came from the bucket."""
        surroundings, corrupt = dict(self.settings.inherited_env), list[Corrupt]()
        async with (
            open_objects(self.settings.weights_at, surroundings) as mirror,
            serve_weights(
                weights_settings(self.settings),
                me=NodeId("n1"), mirror=mirror, nodes=dict, clock=SystemClock(), on_corrupt=corrupt.append,
            ) as node,
        ):  # fmt: skip
            assert [bad async for bad in verify(mirror, [done.mirrored.manifest_id])] == []
            fetched = await node.replicas.fetch(ReplicaId("r"), (Mount(done.mirrored.manifest_id, "/weights"),))
            tree = Path(fetched.mounted[0].folder)
            assert corrupt == []
            return {path.name: path.read_bytes() for path in tree.iterdir()}, fetched.tally.mirror


class Half(Hub):
    """Gives the second half of a file only when it is opened."""

    def __init__(self, repos: dict[str, Repo]) -> None:
        super().__init__(repos)
        self.opened = asyncio.Event()

    async def resolve(self, request: web.Request) -> web.StreamResponse:
        if (request.http_range.start or 0) >= ALL // 2:
            await self.opened.wait()
        return await super().resolve(request)


@pytest.fixture
async def hub() -> AsyncIterator[Half]:
    async with running(Half({"owner/model": Repo({COMMIT: FILES})})) as it:
        assert isinstance(it, Half)
        try:
            yield it
        finally:
            it.opened.set()


async def test_a_node_with_an_empty_cache_reads_the_bucket_alone(tmp_path: Path, hub: Half, s3: S3) -> None:
    hub.opened.set()
    bucket = await s3.bucket()
    site = Site(tmp_path, hub, f"s3://{bucket}/planes/one", **s3.surroundings())
    done = await site.mirror()
    assert done.mirrored.bytes == done.mirrored.bytes_read == hub.bytes == ALL
    hub.down = True
    assert await site.read(done) == (FILES, ALL)
    async with s3.client() as client:
        keys = [each["Key"] for each in (await client.list_objects_v2(Bucket=bucket))["Contents"]]
    assert keys and all(key.startswith("planes/one/weights/") for key in keys)
    assert not list(site.settings.folder("blobs").rglob("*")), "nothing lies in the state folder besides"


async def test_an_upload_that_was_cut_goes_on_where_it_was(tmp_path: Path, hub: Half, s3: S3) -> None:
    bucket = await s3.bucket()
    async with Proxy(int(s3.url.rpartition(":")[2])) as proxy:
        way = s3.surroundings(AWS_ENDPOINT_URL=proxy.url.replace("nats:", "http:"))
        site = Site(tmp_path, hub, f"s3://{bucket}", **way)
        first = asyncio.create_task(site.mirror())
        await eventually(lambda: site.noted() >= 3)
        await proxy.cut()
        hub.opened.set()
        with pytest.raises(MirrorFailed, match=r"the blob store: .*cannot be reached") as failed:
            await first
        assert failed.value.kind == "unavailable"
        await proxy.heal()
        done = await site.mirror()
        assert done.mirrored.bytes == ALL > done.mirrored.bytes_read
        assert await site.read(done) == (FILES, ALL)
