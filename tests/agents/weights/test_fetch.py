"""From the mirror to a replica's folder: always these bytes, each fetched once, whatever breaks on the way."""

import asyncio
import os
import shutil
import stat
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from agents.weights.fetch import WeightsLate, content_id
from agents.weights.manifest import decode, manifest_key
from events.base import ReplicaId
from events.weights import Mount
from tests.agents.weights.goods import Plane, file_of, flip, got, mirrored, plane, some_files


async def test_a_replica_has_every_file_and_the_second_costs_nothing(tmp_path: Path) -> None:
    async with plane(tmp_path) as here:
        files = some_files()
        manifest_id = await mirrored(here.mirror, files, programs=frozenset({"tools/run"}))
        node = await here.node("n1")
        first = await node.replicas.fetch(ReplicaId("r-1"), (Mount(manifest_id, "/weights"),))
        second = await node.replicas.fetch(ReplicaId("r-2"), (Mount(manifest_id, "/weights"),))
        total = sum(map(len, files.values()))
        assert first.tally.mirror == here.mirror.chunk_bytes == total - 2 * (1 << 20), "equal chunks are one"
        assert (second.tally.node, second.tally.peer, second.tally.mirror) == (total, 0, 0)
        tree = Path(second.mounted[0].folder)
        assert {path: (tree / path).read_bytes() for path in files} == files
        modes = {path: stat.S_IMODE((tree / path).stat().st_mode) for path in files}
        assert modes == {path: 0o555 if path == "tools/run" else 0o444 for path in files}
        assert os.stat(tree / "config.json").st_nlink == 3, "the cache and two replicas have one file"
        assert here.found == []


async def test_many_replicas_at_once_are_one_fetch(tmp_path: Path) -> None:
    async with plane(tmp_path) as here:
        files = some_files()
        manifest_id = await mirrored(here.mirror, files)
        node = await here.node("n1")
        seen = await asyncio.gather(*(got(node, manifest_id, f"r-{number}") for number in range(5)))
        assert all(each == files for each in seen)
        assert here.mirror.chunk_bytes == sum(map(len, files.values())) - 2 * (1 << 20)


async def test_a_second_model_moves_only_what_is_new(tmp_path: Path) -> None:
    async with plane(tmp_path) as here:
        base = some_files()
        part = base["model/part-1.safetensors"]
        tuned = {**base, "model/part-1.safetensors": part[: 1 << 20] + os.urandom(1 << 20) + part[2 << 20 :]}
        first, second = await mirrored(here.mirror, base), await mirrored(here.mirror, tuned)
        node = await here.node("n1")
        assert await got(node, first, "r-1") == base
        before = here.mirror.chunk_bytes
        assert await got(node, second, "r-2") == tuned
        assert here.mirror.chunk_bytes - before == 1 << 20


async def test_four_nodes_read_the_mirror_once(tmp_path: Path) -> None:
    async with plane(tmp_path) as here:
        files = some_files()
        manifest_id = await mirrored(here.mirror, files)
        nodes = [await here.node(f"n{number}") for number in range(4)]
        seen = await asyncio.gather(*(got(node, manifest_id, f"r-{n}") for node in nodes for n in range(2)))
        assert all(each == files for each in seen)
        assert here.mirror.chunk_bytes == sum(map(len, files.values())) - 2 * (1 << 20)
        assert here.found == []


async def test_the_mirror_is_not_asked_for_what_the_node_has_also_by_the_next_agent(tmp_path: Path) -> None:
    async with plane(tmp_path) as here:
        files = some_files()
        manifest_id = await mirrored(here.mirror, files)
        async with AsyncExitStack() as life:
            assert await got(await here.node("n1", stack=life), manifest_id) == files
            here.mirror.is_away = True
            address = here.addresses
        node = await here.node("n1")
        assert await got(node, manifest_id, "r-2") == files
        assert here.addresses == address, "the next agent listens where the last one did"


async def test_what_a_killed_agent_had_fetched_is_not_fetched_again(tmp_path: Path) -> None:
    async with plane(tmp_path) as here:
        files = {"model": some_files()["model/part-1.safetensors"]}
        manifest_id = await mirrored(here.mirror, files)
        node = await here.node("n1")
        await got(node, manifest_id)
        manifest = decode(manifest_id, (tmp_path / "n1/manifests" / manifest_id).read_bytes())
        content = content_id(manifest.files[0])
        whole = (tmp_path / "n1/files" / content).read_bytes()
        # As it is left in the middle of a fetch: three chunks, of which one did not reach the disk whole.
        (tmp_path / "n2/partial").mkdir(parents=True)
        left = whole[: 2 << 20] + bytes(1 << 19) + whole[(2 << 20) + (1 << 19) : 3 << 20]
        (tmp_path / "n2/partial" / content).write_bytes(left)
        (tmp_path / "n2/chunks").mkdir()
        (tmp_path / "n2/chunks/x.aside").write_bytes(b"half")
        here.addresses.clear()
        before = here.mirror.chunk_bytes
        assert await got(await here.node("n2"), manifest_id) == files
        assert here.mirror.chunk_bytes - before == len(whole) - (2 << 20)
        assert here.found == [], "a fetch that was cut short is no corruption"
        assert not (tmp_path / "n2/chunks/x.aside").exists() and not list((tmp_path / "n2/partial").iterdir())


async def test_the_mirror_is_away_and_comes_back(tmp_path: Path) -> None:
    async with plane(tmp_path) as here:
        files = some_files()
        manifest_id = await mirrored(here.mirror, files)
        node = await here.node("n1")
        here.mirror.is_away = True
        with pytest.raises(WeightsLate) as late:
            await got(node, manifest_id)
        assert late.value.lack == "mirror" and "switched it off" in late.value.reason
        here.mirror.is_away = False
        assert await got(node, manifest_id) == files


async def test_what_no_mirror_ever_had(tmp_path: Path) -> None:
    async with plane(tmp_path) as here:
        files = some_files()
        manifest_id = await mirrored(here.mirror, files)
        await here.mirror.remove(manifest_key(manifest_id))
        with pytest.raises(WeightsLate, match="push the deployment again") as late:
            await got(await here.node("n1"), manifest_id)
        assert late.value.lack == "missing"


async def full(here: Plane, budget_bytes: int) -> None:
    a, b = {"a": os.urandom(3 << 20)}, {"b": os.urandom(3 << 20)}
    first, second = await mirrored(here.mirror, a), await mirrored(here.mirror, b)
    node = await here.node("n1", budget_bytes=budget_bytes)
    assert await got(node, first, "r-1") == a
    with pytest.raises(WeightsLate) as late:
        await got(node, second, "r-2")
    assert late.value.lack == "room"
    await asyncio.to_thread(node.replicas.forget, ReplicaId("r-1"))
    assert await got(node, second, "r-2") == b
    assert len([path for path in (here.root / "n1/files").iterdir() if not path.suffix]) == 1


async def test_what_a_replica_uses_is_not_evicted_for_another_and_goes_when_it_has_ended(tmp_path: Path) -> None:
    async with plane(tmp_path) as here:
        await full(here, budget_bytes=5 << 20)


async def test_a_changed_byte_on_the_disk_is_found_told_and_mended(tmp_path: Path) -> None:
    async with plane(tmp_path) as here:
        files = some_files()
        manifest_id = await mirrored(here.mirror, files)
        node = await here.node("n1")
        await got(node, manifest_id)
        before = here.mirror.chunk_bytes
        big, _ = file_of("x", files["model/part-1.safetensors"])
        flip(tmp_path / "n1/files" / content_id(big), at=(2 << 20) + 7)
        assert await got(node, manifest_id, "r-2") == files
        assert [(each.tier, each.source, each.chunk) for each in here.found] == [("node", "n1", big.chunks[2].hash)]
        assert here.mirror.chunk_bytes - before == big.chunks[2].size
        assert (await got(node, manifest_id, "r-1"))["model/part-1.safetensors"] == files["model/part-1.safetensors"]
        assert len(here.found) == 1


async def test_a_change_that_no_time_stamp_tells_is_found_by_reading(tmp_path: Path) -> None:
    async with plane(tmp_path) as here:
        files = some_files()
        manifest_id = await mirrored(here.mirror, files)
        node = await here.node("n1", verify_always=True)
        await got(node, manifest_id)
        big, _ = file_of("x", files["model/part-1.safetensors"])
        path = tmp_path / "n1/files" / content_id(big)
        times = path.stat()
        flip(path)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert await got(node, manifest_id, "r-2") == files
        assert [each.tier for each in here.found] == ["node"]


async def test_a_wrong_byte_in_the_mirror_reaches_no_replica(tmp_path: Path) -> None:
    async with plane(tmp_path) as here:
        files = some_files()
        manifest_id = await mirrored(here.mirror, files)
        big, parts = file_of("x", files["model/part-1.safetensors"])
        key = f"weights/chunks/{big.chunks[3].hash[:2]}/{big.chunks[3].hash}"
        here.mirror.flip(key)
        node = await here.node("n1")
        with pytest.raises(WeightsLate, match="other bytes") as late:
            await got(node, manifest_id)
        assert late.value.lack == "corrupt"
        assert {(each.tier, each.chunk) for each in here.found} == {("mirror", big.chunks[3].hash)}
        await here.mirror.put(key, parts[3])
        assert await got(node, manifest_id) == files


async def test_a_manifest_that_is_damaged(tmp_path: Path) -> None:
    async with plane(tmp_path) as here:
        files = some_files()
        manifest_id = await mirrored(here.mirror, files)
        node = await here.node("n1")
        await got(node, manifest_id)
        flip(tmp_path / "n1/manifests" / manifest_id)
        assert await got(node, manifest_id, "r-2") == files
        assert [each.tier for each in here.found] == ["node"]
        here.mirror.flip(manifest_key(manifest_id))
        with pytest.raises(WeightsLate):
            await got(await here.node("n2"), manifest_id)
        assert here.found[-1].tier == "mirror"


async def test_a_cache_that_is_emptied_by_hand_is_filled_again(tmp_path: Path) -> None:
    async with plane(tmp_path) as here:
        files = some_files()
        manifest_id = await mirrored(here.mirror, files)
        node = await here.node("n1")
        await got(node, manifest_id)
        for name in ("files", "manifests", "chunks", "partial"):
            while (folder := tmp_path / "n1" / name).exists():  # The node may write a mark there meanwhile.
                shutil.rmtree(folder, ignore_errors=True)
        assert await got(node, manifest_id, "r-2") == files
        assert here.found == []


async def test_what_was_prefetched_is_there_for_the_first_replica(tmp_path: Path) -> None:
    async with plane(tmp_path) as here:
        files = some_files()
        manifest_id = await mirrored(here.mirror, files)
        node = await here.node("n1")
        fetched = await node.replicas.prefetch(manifest_id)
        assert fetched.tally.mirror == here.mirror.chunk_bytes and fetched.mounted == ()
        here.mirror.is_away = True
        assert await got(node, manifest_id) == files
        with pytest.raises(WeightsLate) as late:
            await node.replicas.prefetch(await mirrored(here.mirror, {"other": b"1"}))
        assert late.value.lack == "mirror"


async def test_models_that_are_used_once_do_not_push_out_the_one_that_is_used_daily(tmp_path: Path) -> None:
    async with plane(tmp_path) as here:
        daily = {"daily": os.urandom(3 << 20)}
        first = await mirrored(here.mirror, daily)
        node = await here.node("n1", budget_bytes=10 << 20)
        for day in range(2):
            await got(node, first, f"daily-{day}")
            await asyncio.to_thread(node.replicas.forget, ReplicaId(f"daily-{day}"))
        for number in range(4):
            once = {"once": os.urandom(3 << 20)}
            assert await got(node, await mirrored(here.mirror, once), f"once-{number}") == once
            await asyncio.to_thread(node.replicas.forget, ReplicaId(f"once-{number}"))
        before = here.mirror.chunk_bytes
        assert await got(node, first, "daily-9") == daily
        assert here.mirror.chunk_bytes == before
