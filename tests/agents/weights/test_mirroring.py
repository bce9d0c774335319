"""The process that mirrors: killed it goes on, its memory has a bound, its secret stays with it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import psutil
import pytest

from agents.effects.weights_child import Finished, Pinned
from agents.effects.weights_mirroring import MirrorFailed, Mirroring
from agents.weights.store import verify
from agents.weights.wanted import Wanted
from ops.config import load
from projections.stores.objects import FolderObjects
from tests.agents.builder.plant import a_plane, eventually
from tests.weights import azure_blobs, gcs
from tests.weights.hub import COMMIT, Hub, Repo, running

PART_BYTES = 25_000_000
ALL = 4 * (8 + PART_BYTES)
MEMORY_BYTES = 200_000_000
WANTED = Wanted("hf://owner/model", "/weights")


def part() -> bytes:
    """Made when it is needed: a worker of the tests lives long."""
    return Random(9).randbytes(PART_BYTES)


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    same = part()
    files = {f"model-{n}.safetensors": bytes([n]) * 8 + same for n in range(4)}
    async with running(Hub({"owner/model": Repo({COMMIT: files}, token="hf_secret")})) as it:
        yield it


def mirrors(process: psutil.Process) -> bool:
    try:
        return process.cmdline()[1:3] == ["-m", "agents.effects.weights_child"]
    except psutil.NoSuchProcess:  # It has ended; a zombie counts as such.
        return False


class Site:
    def __init__(self, root: Path, surroundings: dict[str, str]) -> None:
        self.lines: list[str] = []
        self.pins: list[Pinned] = []
        self.objects = FolderObjects(root / "blobs")
        self.work = root / "work"
        self.work.mkdir()
        self._mirroring = Mirroring(
            store=str(root / "blobs"), journals=root / "journals", folders=(), surroundings=surroundings, plane=a_plane
        )

    async def mirror(self, wanted: Wanted = WANTED, secret: str = "hf_secret") -> Finished:
        return await self._mirroring.mirror(
            wanted,
            revision=None,
            secret=secret,
            work=self.work,
            on_pin=self.pins.append,
            on_line=self.lines.append,
        )


async def test_killed_in_the_middle_it_goes_on_and_never_needs_much_memory(tmp_path: Path, hub: Hub) -> None:
    site = Site(tmp_path, {"HF_ENDPOINT": hub.url})
    hub.pause_s = 0.05
    first = asyncio.create_task(site.mirror())
    await eventually(lambda: hub.bytes > ALL * 2 // 3)
    (child,) = (each for each in psutil.Process().children(recursive=True) if mirrors(each))
    assert "hf_secret" not in " ".join(child.cmdline() + list(child.environ().values()))
    child.kill()
    with pytest.raises(MirrorFailed, match="ended with code") as failed:
        await first
    assert failed.value.kind == "unavailable" and not list(site.work.glob("*.json"))
    hub.pause_s, before = 0.0, hub.bytes
    done = await site.mirror()
    assert done.mirrored.bytes == ALL and done.mirrored.bytes_read == hub.bytes - before < ALL
    assert [bad async for bad in verify(site.objects, [done.mirrored.manifest_id])] == []
    assert done.peak_bytes < MEMORY_BYTES
    assert [pin.revision for pin in site.pins] == [COMMIT] * 2
    assert not any("hf_secret" in line for line in site.lines)


async def test_cancelled_it_leaves_no_process(tmp_path: Path, hub: Hub) -> None:
    site = Site(tmp_path, {"HF_ENDPOINT": hub.url})
    hub.pause_s = 0.2
    mirroring = asyncio.create_task(site.mirror())
    await eventually(lambda: hub.bytes > 0)
    mirroring.cancel()
    with pytest.raises(asyncio.CancelledError):
        await mirroring
    assert not any(mirrors(each) for each in psutil.Process().children(recursive=True))
    assert not list(site.work.glob("*.json"))


async def test_clouds_are_mirrored_by_that_process_from_where_the_plane_says_that_they_are(tmp_path: Path) -> None:
    """The variables that the plane lets through, and of the builder's credentials none."""
    google, azure = gcs.Gcs(private=True), azure_blobs.AzureBlobs(private=True)
    google.put("models", "m/a.bin", part())
    azure.put("models", "m/b.bin", part())
    async with gcs.running(google), azure_blobs.running(azure):
        set_here = {"STORAGE_EMULATOR_HOST": google.url, "AZURE_STORAGE_SERVICE_ENDPOINT": azure.url}
        site = Site(tmp_path, dict(load({"CAUSEWAY_STATE": str(tmp_path), **set_here}).inherited_env))
        for source, secret in (
            ("gs://models/m", google.secret()),
            ("azure://models/models/m", f'{{"account_key": "{azure_blobs.KEY}"}}'),
        ):
            done = await site.mirror(Wanted(source, "/weights"), secret)
            assert (done.mirrored.files, done.mirrored.bytes_read) == (1, PART_BYTES)
            assert [bad async for bad in verify(site.objects, [done.mirrored.manifest_id])] == []
            assert done.peak_bytes < MEMORY_BYTES
