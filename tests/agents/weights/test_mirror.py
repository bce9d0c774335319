"""The mirror against a hub: every byte once, checked, resumed, shared, and refused when it is not what was listed."""

import asyncio
import errno
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from agents.effects.weights_sources import Access, Source, SourceFailed, SourceFile, open_source
from agents.weights.manifest import CHUNKS, MANIFESTS, Manifest, chunk_key, decode, manifest_key
from agents.weights.mirror import Mirror, Mirrored, Moved
from agents.weights.store import clear, garbage_of
from agents.weights.wanted import Wanted
from projections.stores.objects import FolderObjects, StoreUnavailable
from tests.weights.hub import COMMIT, SECOND, Hub, Repo, running

RANDOM = Random(7)
CONFIG = b'{"layers": 2}'
SHARD_1, SHARD_2 = RANDOM.randbytes(9_000_000), RANDOM.randbytes(5_000_000)
FILES = {
    "model-00002-of-00002.safetensors": SHARD_2,
    "model-00001-of-00002.safetensors": SHARD_1,
    "config.json": CONFIG,
    "empty.txt": b"",
    "README.md": b"read me",
}
ALL = sum(map(len, FILES.values()))


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    async with running(Hub({"owner/model": Repo({COMMIT: FILES})})) as it:
        yield it


class Site:
    """One machine that mirrors."""

    def __init__(self, root: Path, hub: Hub) -> None:
        self.objects = FolderObjects(root / "blobs")
        self.journals = root / "journals"
        self.hub = hub
        self.moved = Moved()

    async def mirror(
        self, source: str = "hf://owner/model", *, revision: str | None = None, secret: str | None = None, **but: object
    ) -> Mirrored:
        wanted = Wanted(source, "/weights", **but)  # type: ignore[arg-type]
        self.journals.mkdir(exist_ok=True, parents=True)
        self.moved = Moved()
        async with open_source(source, Access(secret, {"HF_ENDPOINT": self.hub.url})) as opened:
            listing = await opened.pin(revision)
            return await Mirror(self.objects, self.journals, self.moved).run(opened, listing, wanted)

    async def manifest(self, mirrored: Mirrored) -> Manifest:
        body = await self.objects.read(manifest_key(mirrored.manifest_id))
        return decode(mirrored.manifest_id, body)

    async def files(self, mirrored: Mirrored) -> dict[str, bytes]:
        return {
            file.path: b"".join([await self.objects.read(chunk_key(chunk.hash)) for chunk in file.chunks])
            for file in (await self.manifest(mirrored)).files
        }


@pytest.fixture
def site(tmp_path: Path, hub: Hub) -> Site:
    return Site(tmp_path, hub)


async def test_each_file_is_read_once_and_is_in_the_store_byte_for_byte(site: Site, hub: Hub) -> None:
    mirrored = await site.mirror()
    assert await site.files(mirrored) == FILES
    assert hub.bytes == mirrored.bytes_read == mirrored.bytes_stored == mirrored.bytes == ALL
    manifest = await site.manifest(mirrored)
    assert [file.path for file in manifest.files] == [
        "README.md", "config.json", "empty.txt",
        "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
    ]  # fmt: skip
    assert (mirrored.files, mirrored.chunks) == (5, sum(1 for _ in manifest.chunks()))


async def test_what_is_known_is_not_read_again_by_whatever_name_it_goes(site: Site, hub: Hub) -> None:
    first = await site.mirror()
    hub.repos["other/copy"] = Repo({SECOND: {"weights/" + path: body for path, body in FILES.items()}})
    again, copy = await site.mirror(), await site.mirror("hf://other/copy")
    assert hub.bytes == ALL, "the source was read once"
    assert again.manifest_id == first.manifest_id and again.bytes_stored == copy.bytes_stored == 0
    assert await site.files(copy) == {"weights/" + path: body for path, body in FILES.items()}


async def test_a_chunk_that_is_gone_from_the_store_is_fetched_again(site: Site) -> None:
    first = await site.mirror()
    chunk = (await site.manifest(first)).files[-1].chunks[1]
    await site.objects.remove(chunk_key(chunk.hash))
    assert (await site.mirror()).bytes_stored == chunk.size
    assert await site.files(first) == FILES


async def test_what_was_cleared_away_is_mirrored_again_when_it_is_asked_for_again(site: Site, hub: Hub) -> None:
    first = await site.mirror()
    await clear(site.objects, await garbage_of(site.objects, (), time.time() + 60))
    for kind in (CHUNKS, MANIFESTS):
        assert [each async for each in site.objects.list(kind)] == []
    again = await site.mirror()
    assert again.bytes_read == again.bytes_stored == ALL and hub.bytes == 2 * ALL
    assert again.manifest_id == first.manifest_id and await site.files(again) == FILES


class SmallDisk(FolderObjects):
    """With room for so many bytes of chunks."""

    room = 0

    async def put(self, key: str, body: bytes | memoryview) -> None:
        if self.room < len(body):
            raise StoreUnavailable(f"{key} cannot be written: {os.strerror(errno.ENOSPC)}")
        self.room -= len(body)
        await super().put(key, body)


async def test_a_full_disk_is_said_and_gone_on_from_when_there_is_room(tmp_path: Path, site: Site, hub: Hub) -> None:
    hub.repos["owner/big"] = Repo({COMMIT: {"big.safetensors": RANDOM.randbytes(40_000_000)}})
    site.objects = disk = SmallDisk(tmp_path / "blobs")
    disk.room = 25_000_000
    with pytest.raises(StoreUnavailable, match=r"weights/chunks/.* cannot be written: No space left"):
        await site.mirror("hf://owner/big")
    assert not [each async for each in disk.list(MANIFESTS)]
    stored = sum([each.size async for each in disk.list(CHUNKS)])
    disk.room = 1 << 30
    mirrored = await site.mirror("hf://owner/big")
    assert mirrored.bytes_read <= 40_000_000 - stored + (16 << 20), "what had been stored is not read again"
    assert await site.files(mirrored) == hub.repos["owner/big"].commits[COMMIT]


async def test_patterns_choose_files(site: Site) -> None:
    mirrored = await site.mirror(allow=("*.safetensors", "*.json"), ignore=("*-00002-*",))
    assert list(await site.files(mirrored)) == ["config.json", "model-00001-of-00002.safetensors"]
    with pytest.raises(SourceFailed, match="none of its 5 files is let through") as failed:
        await site.mirror(allow=("*.gguf",))
    assert failed.value.kind == "missing"


async def test_passing_failures_pass(site: Site, hub: Hub) -> None:
    hub.failures, hub.cuts = 3, 2
    assert await site.files(await site.mirror()) == FILES


@pytest.mark.parametrize("path", ["model-00001-of-00002.safetensors", "config.json"])
async def test_a_wrong_bit_is_noticed_and_leaves_no_manifest(site: Site, hub: Hub, path: str) -> None:
    hub.flips = {path}
    with pytest.raises(SourceFailed, match=f"{path}: the bytes that came have") as failed:
        await site.mirror()
    assert failed.value.kind == "damaged"
    assert [each async for each in site.objects.list("weights/manifests/")] == []
    hub.flips = set()
    assert await site.files(await site.mirror()) == FILES


async def test_the_pin_holds_when_the_branch_moves_on(site: Site, hub: Hub) -> None:
    hub.repos["owner/model"].commits[SECOND] = {"config.json": b"newer"}
    assert await site.files(await site.mirror(revision=COMMIT)) == FILES
    assert await site.files(await site.mirror()) == {"config.json": b"newer"}
    assert await site.files(await site.mirror(f"hf://owner/model@{COMMIT}")) == FILES
    del hub.repos["owner/model"].commits[COMMIT]
    with pytest.raises(SourceFailed, match=f"the pinned commit {COMMIT} is gone") as failed:
        await site.mirror(revision=COMMIT)
    assert failed.value.kind == "changed"


async def test_missing_private_gated_and_renamed_are_told_apart(site: Site, hub: Hub) -> None:
    async def failing(source: str, secret: str | None = None) -> tuple[str, str]:
        with pytest.raises(SourceFailed) as failed:
            await site.mirror(source, secret=secret)
        return failed.value.kind, failed.value.reason

    kind, reason = await failing("hf://owner/nothing")
    assert kind == "missing" and "does not exist, or is private" in reason and "auth_secret_name" in reason
    kind, reason = await failing("hf://owner/model@v9")
    assert kind == "missing" and "has no revision v9" in reason
    hub.repos["owner/model"].token = "hf_good"
    assert (await failing("hf://owner/model"))[0] == "missing"
    kind, reason = await failing("hf://owner/model", secret="hf_bad")
    assert kind == "missing" and "the secret does not open it" in reason
    assert await site.files(await site.mirror(secret="hf_good\n")) == FILES
    hub.repos["owner/model"].gated = True
    kind, reason = await failing("hf://owner/model")
    assert kind == "private" and "accept its terms" in reason
    hub.repos["owner/model"] = Repo({COMMIT: FILES})
    hub.renamed["owner/old"] = "owner/model"
    async with open_source("hf://owner/old", Access(None, {"HF_ENDPOINT": hub.url})) as source:
        assert "is called owner/model now" in (await source.pin(None)).notes[0]


async def test_paths_that_leave_the_folder_are_refused(site: Site, hub: Hub) -> None:
    hub.repos["owner/evil"] = Repo({COMMIT: {"../../etc/cron.d/x": b"*"}})
    with pytest.raises(SourceFailed, match="must be relative"):
        await site.mirror("hf://owner/evil")
    hub.repos["owner/evil"] = Repo({COMMIT: {"a": b"1", "a/b": b"2"}})
    with pytest.raises(SourceFailed, match="is a file and the folder of"):
        await site.mirror("hf://owner/evil")


async def test_two_who_ask_at_once_read_it_once(site: Site, hub: Hub, tmp_path: Path) -> None:
    hub.pause_s = 0.02
    other = Site(tmp_path, hub)
    first, second = await asyncio.gather(site.mirror(), other.mirror())
    assert first.manifest_id == second.manifest_id and hub.bytes == ALL


class Cut(Exception):
    pass


class Interrupted:
    """A source that stops after so many bytes, as a killed process would."""

    def __init__(self, source: Source, after: int) -> None:
        self._source = source
        self._left = after

    async def stream(self, file: SourceFile, start: int) -> AsyncIterator[bytes]:
        async for body in self._source.stream(file, start):
            self._left -= len(body)
            if self._left < 0:
                raise Cut
            yield body


async def test_it_goes_on_where_it_was_interrupted(site: Site, hub: Hub) -> None:
    """Read twice is at most what was in flight when it stopped: the chunks that were stored are not."""
    hub.repos["owner/big"] = Repo({COMMIT: {"big.safetensors": RANDOM.randbytes(40_000_000)}})
    source, wanted = "hf://owner/big", Wanted("hf://owner/big", "/weights")
    site.journals.mkdir(parents=True)
    async with open_source(source, Access(None, {"HF_ENDPOINT": hub.url})) as opened:
        listing = await opened.pin(None)
        with pytest.raises(Cut):
            interrupted: Source = Interrupted(opened, 30_000_000)  # type: ignore[assignment]
            await Mirror(site.objects, site.journals, Moved()).run(interrupted, listing, wanted)
    (journal,) = site.journals.glob("*.journal")
    with journal.open("a") as half:
        half.write('["12')  # What a writer that is killed in the middle of a line leaves.
    stored = sum([each.size async for each in site.objects.list(CHUNKS)])
    assert stored > 10_000_000
    mirrored = await site.mirror(source)
    assert mirrored.bytes_read <= 40_000_000 - stored + (16 << 20)
    assert await site.files(mirrored) == hub.repos["owner/big"].commits[COMMIT]
    assert not list(site.journals.glob("*.journal"))
