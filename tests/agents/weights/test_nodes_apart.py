"""Four nodes as four processes, one mirror that counts: each byte leaves it once, and no kill leaves a wrong one."""

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import pytest
from aiohttp import web

from agents.effects.weights_sources import Access, open_source
from agents.weights.mirror import Mirror, Mirrored, Moved
from agents.weights.wanted import Wanted
from events.weights import ManifestId
from projections.stores.objects import FolderObjects
from tests.agents.weights.goods import mirrored, safetensors, some_files
from tests.weights.hub import COMMIT, Hub, Repo, running

ROOT = Path(__file__).parents[3]
PATIENCE_S = 240.0
CHUNKS = "weights/chunks/"
FILES = some_files(big_bytes=12 << 20)
SUMS = {path: sha256(body).hexdigest() for path, body in FILES.items()}
ONCE = sum(map(len, FILES.values())) - 2 * (1 << 20)
"""The three chunks of zeros are one."""


class CountingMirror:
    """Objects of a folder over HTTP, as a bucket has them."""

    def __init__(self, root: Path) -> None:
        self.store = FolderObjects(root)
        self.url = ""
        self.chunk_bytes = 0
        self.delay_s = 0.0
        self.is_away = False
        self.flips = 0
        """So many answers to come have a wrong bit."""

    async def answer(self, request: web.Request) -> web.Response:
        key = request.match_info["key"]
        if self.is_away:
            return web.Response(status=503)
        await asyncio.sleep(self.delay_s)
        part = request.http_range
        start = part.start or 0
        body = await self.store.read(key, start, None if part.stop is None else part.stop - start)
        if key.startswith(CHUNKS):
            self.chunk_bytes += len(body)
            if self.flips:
                self.flips -= 1
                body = bytes([body[0] ^ 1]) + body[1:]
        return web.Response(body=body)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["CountingMirror"]:
        app = web.Application()
        app.router.add_get("/{key:.+}", self.answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()


class NodeProcess:
    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name, self.process, self.address = name, process, ""

    async def ask(self, **question: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(question).encode() + b"\n")
        return await self.answered()

    async def answered(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            line = await self.process.stdout.readline()
        assert line, f"{self.name} has ended"
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def fetch(self, manifest_id: ManifestId, *replicas: str) -> dict[str, Any]:
        return await self.ask(fetch=manifest_id, replicas=replicas or ("r-1",))

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()


class Cluster:
    def __init__(self, root: Path, mirror: CountingMirror, stack: AsyncExitStack) -> None:
        self.root, self.mirror, self._stack = root, mirror, stack
        self.nodes: dict[str, NodeProcess] = {}

    async def node(self, name: str, *, around: Sequence[str] = (), folder: Path | None = None) -> NodeProcess:
        script = (sys.executable, "-m", "tests.agents.weights.node_process")
        arguments = (str(folder or self.root / name), name, self.mirror.url, str(1 << 30))
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *around, *script, *arguments, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL
        )
        node = NodeProcess(name, process)
        self._stack.push_async_callback(ended, process)
        node.address = (await node.answered())["address"]
        self.nodes[name] = node
        return node

    async def introduce(self) -> None:
        addresses = {node.name: node.address for node in self.nodes.values()}
        for node in self.nodes.values():
            if node.process.returncode is None:
                await node.ask(peers=addresses)


async def ended(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    assert process.stdin is not None and process.stdout is not None
    process.stdin.close()
    await process.stdout.read()
    await process.wait()


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        mirror = await stack.enter_async_context(CountingMirror(tmp_path / "blobs").serving())
        yield Cluster(tmp_path, mirror, stack)


async def served_bytes(cluster: Cluster, at_least: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while cluster.mirror.chunk_bytes < at_least:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def sums_of(files: dict[str, bytes]) -> dict[str, str]:
    return {path: sha256(body).hexdigest() for path, body in files.items()}


async def mirror_of(cluster: Cluster, hub: Hub, repo: str) -> Mirrored:
    """As a build brings it, by the real huggingface_hub."""
    journals, source = cluster.root / "journals", f"hf://{repo}"
    journals.mkdir(exist_ok=True)
    async with open_source(source, Access(None, {"HF_ENDPOINT": hub.url})) as opened:
        listing = await opened.pin(None)
        return await Mirror(cluster.mirror.store, journals, Moved()).run(opened, listing, Wanted(source, "/weights"))


async def test_eight_replicas_on_four_nodes_are_one_read_of_the_source_and_one_of_the_mirror(cluster: Cluster) -> None:
    random = Random(4)
    tensors = [random.randbytes(1 << 20) for _ in range(20)]
    base = {"config.json": b"{}", "model.safetensors": safetensors(tensors)}
    tuned = base | {"model.safetensors": safetensors([random.randbytes(1 << 20), *tensors[1:]])}
    total, repos = sum(map(len, base.values())), {"o/base": base, "o/same": base, "o/tuned": tuned}
    async with running(Hub({name: Repo({COMMIT: files}) for name, files in repos.items()})) as hub:
        first = await mirror_of(cluster, hub, "o/base")
        assert hub.bytes == first.bytes_stored == total, "each byte leaves the source once"
        same, changed = await mirror_of(cluster, hub, "o/same"), await mirror_of(cluster, hub, "o/tuned")
        assert hub.bytes == total + len(tuned["model.safetensors"]) and same.bytes_stored == 0
        assert changed.bytes_stored <= 0.08 * total, "a twentieth of its tensors are others"
    # From here on there is no source any more.
    nodes = await asyncio.gather(*(cluster.node(f"n{number}") for number in range(4)))
    await cluster.introduce()
    answers = await asyncio.gather(*(node.fetch(first.manifest_id, "r-1", "r-2") for node in nodes))
    assert all(each["seen"] == [sums_of(base)] * 2 and each["found"] == [] for each in answers)
    assert cluster.mirror.chunk_bytes == total, "nor does any leave the mirror twice"
    for node in nodes:
        assert (await node.fetch(same.manifest_id, "r-3"))["seen"] == [sums_of(base)]
    assert cluster.mirror.chunk_bytes == total, "a second model with the same files moves none"
    for node in nodes:
        assert (await node.fetch(changed.manifest_id, "r-4"))["seen"] == [sums_of(tuned)]
    assert cluster.mirror.chunk_bytes == total + changed.bytes_stored, "a fine-tune moves what it changed"
    cluster.mirror.is_away = True
    again = await nodes[0].fetch(first.manifest_id, "r-5")
    assert again["seen"] == [sums_of(base)] and again["tallies"] == [{"node": total, "peer": 0, "mirror": 0}]
    await nodes[1].kill()
    assert (await (await cluster.node("n1")).fetch(first.manifest_id))["seen"] == [sums_of(base)], "its cache is there"
    await cluster.node("n4")
    await cluster.introduce()
    cluster.mirror.is_away = False
    assert (await cluster.nodes["n4"].fetch(first.manifest_id))["seen"] == [sums_of(base)], "a node with an empty cache"


async def test_an_agent_that_is_killed_while_it_fetches_is_followed_by_one_that_goes_on(cluster: Cluster) -> None:
    manifest_id = await mirrored(cluster.mirror.store, FILES)
    node = await cluster.node("n1")
    cluster.mirror.delay_s = 0.1
    fetching = asyncio.create_task(node.fetch(manifest_id))
    await served_bytes(cluster, ONCE // 2)
    await node.kill()
    with pytest.raises((AssertionError, ConnectionError)):
        await fetching
    cluster.mirror.delay_s = 0.0
    before = cluster.mirror.chunk_bytes
    answer = await (await cluster.node("n1")).fetch(manifest_id)
    assert answer["seen"] == [SUMS] and answer["found"] == []
    assert cluster.mirror.chunk_bytes - before < ONCE, "what it had is not fetched again"


async def test_a_peer_that_is_killed_while_it_serves_is_passed_over(cluster: Cluster) -> None:
    manifest_id = await mirrored(cluster.mirror.store, FILES)
    reader, owner = await cluster.node("n1"), await cluster.node("n2")
    await cluster.introduce()
    cluster.mirror.delay_s = 0.05
    fetching = asyncio.create_task(reader.fetch(manifest_id))
    await served_bytes(cluster, ONCE // 3)
    await owner.kill()
    answer = await fetching
    assert answer["seen"] == [SUMS] and answer["found"] == []
    assert answer["tallies"][0]["mirror"] > 0


async def test_a_bit_that_the_wire_flips_is_noticed_and_fetched_again(cluster: Cluster) -> None:
    manifest_id = await mirrored(cluster.mirror.store, FILES)
    cluster.mirror.flips = 2
    answer = await (await cluster.node("n1")).fetch(manifest_id)
    assert answer["seen"] == [SUMS]
    assert [each["tier"] for each in answer["found"]] == ["mirror", "mirror"]
    assert cluster.mirror.chunk_bytes > ONCE


async def test_a_mirror_that_is_away_is_made_up_for_by_nodes_that_have_it(cluster: Cluster) -> None:
    manifest_id = await mirrored(cluster.mirror.store, FILES)
    first = await cluster.node("n1")
    assert (await first.fetch(manifest_id))["seen"] == [SUMS]
    second = await cluster.node("n2")
    assert (await second.fetch(manifest_id, "r-0"))["seen"] == [SUMS]
    await second.kill()
    shutil.rmtree(cluster.root / "n2" / "files")
    cluster.mirror.is_away = True
    second = await cluster.node("n2")
    await cluster.introduce()
    answer = await second.fetch(manifest_id)
    assert answer["seen"] == [SUMS] and answer["tallies"][0]["peer"] >= ONCE - 1, answer


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="a small file system is made with bubblewrap")
async def test_a_full_disk_is_said_and_used_when_there_is_room(cluster: Cluster) -> None:
    manifest_id = await mirrored(cluster.mirror.store, FILES)
    small = cluster.root / "small"
    small.mkdir()
    whole = ("--bind", "/", "/", "--dev-bind", "/dev", "/dev")
    tmpfs = ("bwrap", "--die-with-parent", *whole, "--size", str(30 << 20), "--tmpfs", str(small))
    fill = f'head -c {10 << 20} /dev/zero > {small}/ballast && exec "$@"'
    node = await cluster.node("n1", around=(*tmpfs, "--", "/bin/sh", "-c", fill, "sh"), folder=small / "cache")
    answer = await node.fetch(manifest_id)
    assert answer["lack"] == "room" and "disk is full" in answer["reason"], answer
    await node.ask(remove=str(small / "ballast"))
    answer = await node.fetch(manifest_id)
    assert answer["seen"] == [SUMS] and answer["found"] == [], answer
