"""Weights in a build: pinned, mirrored, told as events, carried by what was built; a failure is a readable one."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from agents.weights.manifest import decode, manifest_key
from events.base import BuildId
from events.build import BuildFailed, BuildSucceeded
from events.log.memory import MemoryLog
from events.union import AnyEvent, UnknownEvent
from events.weights import Mount, WeightsMirrored, WeightsMirrorFailed, WeightsPinned
from projections.stores.objects import FolderObjects
from tests.agents.builder.plant import Plant, eventually, project, workshop
from tests.weights.hub import COMMIT, SECOND, Hub, Repo, running

BODY = Random(5).randbytes(12_000_000)
FILES = {"model.safetensors": BODY, "config.json": b"{}"}
ALL = sum(map(len, FILES.values()))


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    async with running(Hub({"owner/model": Repo({COMMIT: FILES}, token="hf_good")})) as it:
        yield it


@pytest.fixture
async def plant(tmp_path: Path, hub: Hub) -> AsyncIterator[Plant]:
    (tmp_path / "index").mkdir()
    state = tmp_path / "state"
    shop = workshop(state, index=tmp_path / "index", more={"HF_ENDPOINT": hub.url}, token=b"hf_good")
    async with Plant(MemoryLog(), shop, state).running() as plant:
        yield plant


def asking(source: str = "hf://owner/model", secret: str | None = "token", **more: Any) -> bytes:
    return project(weights=[{"source": source, "mount_location": "/weights/base", "secret": secret, **more}])


async def told(plant: Plant, build: BuildId, *kinds: type) -> list[AnyEvent | UnknownEvent]:
    return [r.event for r in await plant.log.read() if r.stream.id == build and isinstance(r.event, kinds)]


async def test_a_build_pins_and_mirrors_and_says_so(plant: Plant, hub: Hub) -> None:
    build = await plant.request(asking())
    ended = await plant.end_of(build)
    assert isinstance(ended, BuildSucceeded), ended
    (pinned,) = await told(plant, build, WeightsPinned)
    (mirrored,) = await told(plant, build, WeightsMirrored)
    assert isinstance(pinned, WeightsPinned) and isinstance(mirrored, WeightsMirrored)
    assert (pinned.revision, pinned.files, pinned.bytes) == (COMMIT, 2, ALL)
    assert (mirrored.bytes, mirrored.bytes_read, mirrored.bytes_stored) == (ALL, ALL, ALL) and hub.bytes == ALL
    assert ended.weights == (Mount(mirrored.manifest_id, "/weights/base"),)
    objects = FolderObjects(plant.shop.blobs.root)
    manifest = decode(mirrored.manifest_id, await objects.read(manifest_key(mirrored.manifest_id)))
    assert [file.path for file in manifest.files] == ["config.json", "model.safetensors"]
    assert any(line.startswith(f"weights hf://owner/model: pinned to {COMMIT}, 2 files") for line in plant.said(build))
    assert "hf_good" not in "".join(plant.said(build))
    (step,) = (step for step in await plant.steps_of(build) if step.step == "weights")
    assert step.detail == f"2 files, {ALL} bytes, {ALL} read, {ALL} new" and not step.reused

    again = await plant.end_of(await plant.request(asking(), "b2"))
    assert isinstance(again, BuildSucceeded) and again.weights == ended.weights and hub.bytes == ALL


async def test_what_fails_says_what_and_how_to_mend_it(plant: Plant, hub: Hub) -> None:
    cases = {
        "none": (asking("hf://owner/nothing"), "missing", "does not exist, or is private"),
        "unset": (asking(secret="never-set"), "private", "secret never-set is not set: set it, then push again"),
        "signed": (asking("https://h/m.bin?sign=hush", "never-set"), "private", "https://h/m.bin: secret never-set is"),
        "place": (
            asking("file:///srv/models"),
            "private",
            "a folder that CAUSEWAY_WEIGHTS_FOLDERS allows",
        ),
    }
    for name, (source, kind, why) in cases.items():
        build = await plant.request(source, name)
        ended = await plant.end_of(build)
        assert isinstance(ended, BuildFailed) and ended.step == "weights" and why in ended.reason, ended
        (failed,) = await told(plant, build, WeightsMirrorFailed)
        assert isinstance(failed, WeightsMirrorFailed) and failed.kind == kind and failed.reason == ended.reason
        assert "hush" not in f"{failed.source} {failed.reason} {plant.said(build)}"


async def test_a_store_that_cannot_be_written_is_told_and_the_next_build_goes_on(plant: Plant, hub: Hub) -> None:
    in_the_way = plant.shop.blobs.root / "weights" / "holds"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.touch()
    build = await plant.request(asking())
    ended = await plant.end_of(build)
    assert isinstance(ended, BuildFailed) and "hf://owner/model: the blob store: weights/holds/mirror/" in ended.reason
    (failed,) = await told(plant, build, WeightsMirrorFailed)
    assert isinstance(failed, WeightsMirrorFailed) and failed.kind == "unavailable" and hub.bytes == 0
    in_the_way.unlink()
    assert isinstance(await plant.end_of(await plant.request(asking(), "b2")), BuildSucceeded)


async def test_a_builder_killed_while_it_mirrors_goes_on_with_the_same_commit(tmp_path: Path, hub: Hub) -> None:
    (tmp_path / "index").mkdir()
    log, state = MemoryLog(), tmp_path / "state"
    hub.pause_s = 0.3
    shop = workshop(state, index=tmp_path / "index", more={"HF_ENDPOINT": hub.url}, token=b"hf_good")
    async with Plant(log, shop, state).running() as plant:
        build = await plant.request(asking())
        await plant.until(build, WeightsPinned)
        await eventually(lambda: hub.bytes > 4_000_000)
    hub.pause_s = 0.0
    hub.repos["owner/model"].commits[SECOND] = {"config.json": b"newer"}
    async with Plant(log, shop, state).running() as plant:
        ended = await asyncio.wait_for(plant.end_of(build), 120)
        assert isinstance(ended, BuildSucceeded), ended
        (mirrored,) = await told(plant, build, WeightsMirrored)
        assert isinstance(mirrored, WeightsMirrored) and mirrored.revision == COMMIT and mirrored.bytes == ALL
        assert len(await told(plant, build, WeightsPinned)) == 1
