"""The agent and the patch chain, on a scripted machine: nothing is lost, nothing is applied that nobody asked for."""

import asyncio
from pathlib import Path

from agents.effects import Patched
from agents.effects.fake import FakeEffects
from events.base import ReplicaId
from events.log.memory import MemoryLog
from events.replica import ReplicaPatched, ReplicaPatchFailed, ReplicaReady
from tests.agents.node.site import R1, Site, eventually
from tests.agents.node.test_loop import LIFE, machine
from tests.agents.node.watcher import Watcher

R2 = ReplicaId("r-2")


def has(effects: FakeEffects, replica_id: ReplicaId = R1) -> Patched | None:
    return effects.processes[replica_id].patched


async def test_a_patch_waits_for_a_sync(tmp_path: Path) -> None:
    effects = machine(patch_s=0.01)
    async with Site(MemoryLog(), effects).running() as site:
        watcher = Watcher(site, tmp_path)
        await watcher.push()
        await site.until(ReplicaReady)
        await watcher.save(synced=False)
        await watcher.save(synced=False)
        assert has(effects) is None
        await watcher.sync()
        told = await site.until(ReplicaPatched)
        assert (told.number, told.attempt) == (2, 1)
    assert await site.names_of() == [*LIFE, "ReplicaPatched"]


async def test_what_is_saved_while_a_patch_is_applied_follows_it(tmp_path: Path) -> None:
    effects = machine(patch_s=0.2)
    async with Site(MemoryLog(), effects).running() as site:
        watcher = Watcher(site, tmp_path)
        await watcher.push()
        await site.until(ReplicaReady)
        await watcher.save()
        await eventually(lambda: "PatchReplica" in site.node.loop.actual.replicas[R1].busy)
        await watcher.save()
        first, second = await site.until(ReplicaPatched), await site.until(ReplicaPatched, count=2)
    assert (first.number, second.number) == (1, 2)


async def test_a_failure_is_told_once_and_not_tried_again_unasked(tmp_path: Path) -> None:
    effects = machine(patch_s=0.01, patch_fails=True)
    async with Site(MemoryLog(), effects).running() as site:
        watcher = Watcher(site, tmp_path)
        await watcher.push()
        await site.until(ReplicaReady)
        await watcher.save()
        assert (await site.until(ReplicaPatchFailed)).reason == "ValueError: scripted"
        await asyncio.sleep(0.1)
        assert (await site.names_of()).count("ReplicaPatchFailed") == 1
        await watcher.sync()
        assert (await site.until(ReplicaPatchFailed, count=2)).attempt == 2


async def test_the_next_agent_applies_what_it_missed_and_repeats_nothing(tmp_path: Path) -> None:
    log, effects = MemoryLog(), machine(patch_s=0.01)
    async with Site(log, effects).running() as site:
        watcher = Watcher(site, tmp_path)
        await watcher.push()
        await site.until(ReplicaReady)
        await watcher.save()
        await site.until(ReplicaPatched)
    async with Site(log, effects).watching() as site:
        watcher.site = site
        await watcher.save()
    async with Site(log, effects).running() as site:
        told = await site.until(ReplicaPatched, count=2)
        assert (told.number, told.attempt) == (2, 2)
    assert await site.names_of() == [*LIFE, "ReplicaPatched", "ReplicaPatched"]


async def test_a_replica_that_starts_later_begins_with_all_that_was_synced(tmp_path: Path) -> None:
    effects = machine()
    async with Site(MemoryLog(), effects).running() as site:
        watcher = Watcher(site, tmp_path)
        await watcher.push()
        await site.until(ReplicaReady)
        await watcher.save()
        await site.until(ReplicaPatched)
        await watcher.save(synced=False)
        await watcher.assign(R2)
        told = await site.until(ReplicaPatched, replica_id=R2)
        assert (told.number, told.attempt, told.restarted) == (1, 1, True)
        await site.until(ReplicaReady, replica_id=R2)
