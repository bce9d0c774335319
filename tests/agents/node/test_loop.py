"""The agent against a scripted machine: every life of a replica, and of an agent."""

import asyncio
from random import Random

import msgspec
import pytest

from agents.effects.fake import FakeEffects, Script
from agents.reconcile import Patience
from agents.state import NodeActual, evolve
from agents.weights.fetch import Corrupt
from events.base import Event, ReplicaId
from events.log import LogUnavailable
from events.log.memory import MemoryLog
from events.node import (
    NodeJoined,
    NodeLeft,
    WeightsFoundCorrupt,
    WeightsPrefetched,
    WeightsPrefetchFailed,
    WeightsPrefetchLate,
    WeightsPrefetchWithdrawn,
)
from events.replica import (
    ReplicaFailed,
    ReplicaReady,
    ReplicaStopped,
    ReplicaUnready,
    ReplicaWeightsLate,
)
from events.signals import Heartbeat
from events.weights import ChunkHash, ManifestId, Mount
from handlers.clock import SystemClock
from handlers.deciders.node import DeclareNodeLost, DrainNode, PrefetchWeights, WithdrawPrefetch
from handlers.deciders.replica import DeclareReplicaLost
from tests.agents.node.site import NODE, PATIENCE_S, QUICK, R1, Site, eventually, identity

LIFE = ["ReplicaAssigned", "ReplicaEnvironmentReady", "ReplicaProcessStarted", "ReplicaReady"]


def machine(**script: object) -> FakeEffects:
    quick = {"prepare_s": 0.01, "start_s": 0.01, "load_s": 0.03, **script}
    return FakeEffects(SystemClock(), Random(1), lambda target, random: Script(**quick))  # type: ignore[arg-type]


async def test_an_assigned_replica_is_prepared_started_and_told_to_be_ready() -> None:
    effects = machine()
    async with Site(MemoryLog(), effects).running() as site:
        await site.assign()
        ready = await site.until(ReplicaReady)
    assert await site.names_of() == LIFE
    assert ready.address == effects.processes[R1].running.address


async def test_a_replica_with_weights_starts_when_they_are_there_and_says_why_they_are_not() -> None:
    effects = machine(weights_s=0.01, weights_lack=("mirror", "mirror", "room"), says="a cable")
    patience = msgspec.structs.replace(QUICK, weights_again_s=0.01)
    async with Site(MemoryLog(), effects, patience=patience).running() as site:
        await site.assign(weights=(Mount(ManifestId("0" * 64), "/weights"),))
        await site.until(ReplicaReady)
        events = await site.events_of()
    late = [(each.lack, each.reason) for each in events if isinstance(each, ReplicaWeightsLate)]
    assert late == [("mirror", "a cable"), ("room", "a cable")]
    assert [name for name in await site.names_of() if name != "ReplicaWeightsLate"] == [
        *LIFE[:2],
        "ReplicaWeightsReady",
        *LIFE[2:],
    ]


async def test_corrupt_weights_are_told_a_foreign_one_once() -> None:
    own, foreign = Corrupt(ChunkHash("a" * 64), "node", NODE), Corrupt(ChunkHash("b" * 64), "mirror", "mirror")
    async with Site(MemoryLog(), machine()).running() as site:
        for each in (own, foreign, foreign, own):
            site.corrupt.put_nowait(each)
        async with asyncio.timeout(PATIENCE_S):
            while len(found := await finds(site)) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    assert [(each.node_id, each.tier, each.source) for each in found] == [
        (NODE, "node", NODE),
        (NODE, "mirror", "mirror"),
        (NODE, "node", NODE),
    ]


async def finds(site: Site) -> list[WeightsFoundCorrupt]:
    return [each.event for each in await site.log.read() if isinstance(each.event, WeightsFoundCorrupt)]


ABC = [ManifestId(letter * 64) for letter in "abc"]


async def wish(site: Site, manifest_id: ManifestId) -> None:
    await site.until_joined()
    await site.ask(PrefetchWeights(**identity(f"wish-{manifest_id}"), node_id=NODE, manifest_id=manifest_id))


async def told(site: Site, count: int) -> list[Event]:
    """The first facts about wishes."""
    kinds = (WeightsPrefetched, WeightsPrefetchFailed, WeightsPrefetchLate, WeightsPrefetchWithdrawn)
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found: list[Event] = [each.event for each in await site.log.read() if isinstance(each.event, kinds)]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.01)


async def test_weights_that_are_wished_for_are_fetched_and_told_and_each_lack_once() -> None:
    effects = machine()
    effects.prefetch_s, effects.prefetch_lack = 0.01, ["mirror", "mirror", "room", "missing"]
    async with Site(MemoryLog(), effects).running() as site:
        await wish(site, ABC[0])
        found = await told(site, 3)
        await wish(site, ABC[1])
        found = await told(site, 4)
        await eventually(lambda: not site.fleet.state.nodes[NODE].prefetches)
    assert [type(each).__name__ for each in found] == [
        "WeightsPrefetchLate",
        "WeightsPrefetchLate",
        "WeightsPrefetchFailed",
        "WeightsPrefetched",
    ]
    assert effects.prefetched == {ABC[1]: 1}


async def test_a_wish_is_taken_up_by_the_next_agent_and_given_up_when_it_is_withdrawn() -> None:
    log, effects = MemoryLog(), machine()
    effects.prefetch_s = 3600.0
    async with Site(log, effects).running() as site:
        await wish(site, ABC[0])
        await wish(site, ABC[1])
        await eventually(lambda: len(site.fleet.state.nodes[NODE].prefetches) == 2)
        await site.ask(WithdrawPrefetch(**identity("withdraw"), node_id=NODE, manifest_id=ABC[0]))
        await eventually(lambda: list(site.fleet.state.nodes[NODE].prefetches) == [ABC[1]])
    effects.prefetch_s = 0.01
    async with Site(log, effects).running() as site:
        found = await told(site, 2)
    assert effects.prefetched == {ABC[1]: 1}, "not what was withdrawn"
    assert [type(each).__name__ for each in found] == ["WeightsPrefetchWithdrawn", "WeightsPrefetched"]


async def test_every_report_follows_from_the_event_that_called_for_it() -> None:
    async with Site(MemoryLog(), machine()).running() as site:
        await site.assign()
        await site.until(ReplicaReady)
        history = [recorded for recorded in await site.log.read() if recorded.stream.id == R1]
    assert {recorded.meta.causation_id for recorded in history[1:]} == {history[0].meta.id}
    assert {recorded.meta.correlation_id for recorded in history} == {history[0].meta.correlation_id}


async def test_a_draining_replica_finishes_what_runs_and_is_cleared_away() -> None:
    effects = machine()
    async with Site(MemoryLog(), effects).running() as site:
        await site.assign()
        address = (await site.until(ReplicaReady)).address
        request = asyncio.create_task(effects.handle(address, 0.3))
        await asyncio.sleep(0)
        await site.drain()
        stopped = await site.until(ReplicaStopped)
        assert request.done() and request.exception() is None
        assert (stopped.reason, stopped.exit_code) == ("no longer needed", 143)
        await site.forgotten()
    assert not effects.processes


async def test_a_replica_that_does_not_end_is_cut_at_the_deadline() -> None:
    effects = machine()
    patience = Patience(grace_s=0.01, drain_deadline_s=0.1, drain_loading_deadline_s=0.1)
    async with Site(MemoryLog(), effects, patience=patience).running() as site:
        await site.assign()
        address = (await site.until(ReplicaReady)).address
        request = asyncio.create_task(effects.handle(address, 60))
        await asyncio.sleep(0)
        await site.drain()
        stopped = await site.until(ReplicaStopped)
        assert "cut after 0.1 s of draining" in stopped.reason and stopped.exit_code == 137
        with pytest.raises(ConnectionResetError):
            await request


async def test_a_replica_drained_before_it_started_never_starts() -> None:
    effects = machine(prepare_s=0.2)
    async with Site(MemoryLog(), effects).running() as site:
        await site.assign()
        await site.drain()
        await site.until(ReplicaStopped)
        await site.forgotten()
    assert not effects.starts


@pytest.mark.parametrize("stage", ["environment", "start", "load"])
async def test_a_failure_is_told_with_its_stage_and_reason_and_not_tried_again(stage: str) -> None:
    effects = machine(fails=stage, says="ValueError: no such file weights.bin")
    async with Site(MemoryLog(), effects).running() as site:
        await site.assign()
        failed = await site.until(ReplicaFailed)
        await site.forgotten()
    assert (failed.stage, failed.reason) == (stage, "ValueError: no such file weights.bin")
    assert effects.starts[R1] <= 1


async def test_a_crash_after_readiness_is_told_at_once() -> None:
    effects = machine()
    async with Site(MemoryLog(), effects).running() as site:
        await site.assign()
        await site.until(ReplicaReady)
        effects.crash(R1, 139, "segmentation fault")
        failed = await site.until(ReplicaFailed)
    assert (failed.stage, failed.reason, failed.exit_code) == ("run", "segmentation fault", 139)


async def test_a_hung_replica_takes_no_traffic_until_it_is_back() -> None:
    effects = machine()
    patience = Patience(stop_traffic_s=0.1, restart_s=60, probe_every_s=0.03)
    async with Site(MemoryLog(), effects, patience=patience).running() as site:
        await site.assign()
        await site.until(ReplicaReady)
        effects.hang(R1)
        unready = await site.until(ReplicaUnready)
        effects.hang(R1, False)
        await site.until(ReplicaReady, count=2)
    assert unready.reason == "no answer"


async def test_a_replica_hung_for_too_long_is_ended_and_told_as_failed() -> None:
    effects = machine()
    patience = Patience(stop_traffic_s=0.05, restart_s=0.2, probe_every_s=0.03)
    async with Site(MemoryLog(), effects, patience=patience).running() as site:
        await site.assign()
        await site.until(ReplicaReady)
        effects.hang(R1)
        failed = await site.until(ReplicaFailed)
    assert failed.stage == "run" and failed.reason == (
        "was not healthy for 0.2 s (restart_threshold_seconds): no answer"
    )


async def test_a_replica_that_never_gets_ready_is_ended_and_told_as_failed() -> None:
    patience = Patience(startup_s=0.2)
    async with Site(MemoryLog(), machine(load_s=3600), patience=patience).running() as site:
        await site.assign()
        failed = await site.until(ReplicaFailed)
    assert failed.stage == "load" and "was not ready 0.2 s after its start" in failed.reason


async def test_the_next_agent_takes_healthy_replicas_over() -> None:
    log, effects = MemoryLog(), machine()
    async with Site(log, effects).running() as site:
        await site.assign()
        await site.until(ReplicaReady)
    async with Site(log, effects).running() as site:
        await eventually(lambda: R1 in site.node.loop.actual.replicas)
        await eventually(lambda: "ready-1" in site.node.loop.actual.replicas[R1].told)
        assert await site.names_of() == LIFE, "what is known already is not told twice"
        await site.drain()
        await site.until(ReplicaStopped)
    assert effects.starts == {R1: 1}


async def test_the_next_agent_tells_how_a_replica_ended_meanwhile() -> None:
    log, effects = MemoryLog(), machine()
    async with Site(log, effects).running() as site:
        await site.assign()
        await site.until(ReplicaReady)
    effects.crash(R1, 137, "ran out of memory")
    async with Site(log, effects).running() as site:
        failed = await site.until(ReplicaFailed)
    assert (failed.stage, failed.reason) == ("run", "ran out of memory")


async def test_an_agent_killed_while_preparing_begins_again() -> None:
    log, effects = MemoryLog(), machine(prepare_s=0.2)
    async with Site(log, effects).running() as site:
        await site.assign()
        await eventually(lambda: R1 in site.node.loop.actual.replicas)
    async with Site(log, effects).running() as site:
        await site.until(ReplicaReady)
    assert effects.starts == {R1: 1}


async def test_what_the_log_gave_up_is_drained_and_cleared_away() -> None:
    effects = machine()
    async with Site(MemoryLog(), effects).running() as site:
        await site.assign()
        address = (await site.until(ReplicaReady)).address
        request = asyncio.create_task(effects.handle(address, 0.2))
        await asyncio.sleep(0)
        await site.ask(DeclareReplicaLost(**identity("lost"), replica_id=R1, reason="node is silent"))
        await site.forgotten()
        assert request.done() and request.exception() is None
        assert (await site.names_of())[-1] == "ReplicaLost"
    assert not effects.processes


async def test_reports_wait_for_the_log_and_none_is_lost() -> None:
    effects = machine()
    async with Site(MemoryLog(), effects).running() as site:
        await site.until_joined()
        await site.assign()
        site.silence = LogUnavailable("away")
        await eventually(lambda: R1 in effects.processes and effects.processes[R1].was_ready)
        assert await site.names_of() == ["ReplicaAssigned"]
        site.silence = None
        await site.until(ReplicaReady)
    assert await site.names_of() == LIFE


async def test_many_replicas_live_side_by_side() -> None:
    effects = machine()
    names = [ReplicaId(f"r-{n}") for n in range(12)]
    async with Site(MemoryLog(), effects).running() as site:
        for name in names:
            await site.assign(name)
        for name in names:
            await site.until(ReplicaReady, replica_id=name)
    assert all(effects.starts[name] == 1 for name in names)


async def test_the_story_of_the_stimuli_folds_to_the_same_state() -> None:
    async with Site(MemoryLog(), machine()).running() as site:
        await site.assign()
        await site.until(ReplicaReady)
        loop = site.node.loop
        told = NodeActual(NODE, loop.actual.incarnation)
        for stimulus in loop.story:
            told = evolve(told, stimulus)
        assert told == loop.actual


async def test_a_node_joins_once_beats_and_joins_again_when_it_was_held_for_lost() -> None:
    log, effects = MemoryLog(), machine()
    async with Site(log, effects).running() as site:
        await site.until_joined()
        async for signal in site.signals.listen():
            assert isinstance(signal, Heartbeat) and (signal.node_id, signal.boot_id) == (NODE, "boot-1")
            break
        await site.ask(DeclareNodeLost(**identity("lost"), node_id=NODE, silent_for_s=9.0))
        await eventually(lambda: site.fleet.state.nodes[NODE].status == "up")
    async with Site(log, effects).running() as site:
        await eventually(lambda: bool(site.fleet.state.nodes))
    async with Site(log, effects, boot_id="boot-2").running() as site:
        await eventually(lambda: site.fleet.state.nodes[NODE].boot_id == "boot-2")
    joins = [recorded.event for recorded in await log.read() if isinstance(recorded.event, NodeJoined)]
    assert [joined.boot_id for joined in joins] == ["boot-1", "boot-1", "boot-2"]


async def test_a_node_that_drains_leaves_after_its_last_replica_and_joins_when_its_agent_starts_again() -> None:
    effects, log = machine(), MemoryLog()
    async with Site(log, effects).running() as site:
        await site.assign()
        await site.until(ReplicaReady)
        await site.ask(DrainNode(**identity("drain"), node_id=NODE, reason="maintenance"))
    async with Site(log, effects).running() as site:
        assert site.fleet.state.nodes[NODE].status == "draining"
        await site.drain()
        await eventually(lambda: site.fleet.state.nodes[NODE].status == "left")
        history = [type(recorded.event) for recorded in await log.read()]
        assert history.index(ReplicaStopped) < history.index(NodeLeft) == len(history) - 1
    async with Site(log, effects).running() as site:
        await eventually(lambda: site.fleet.state.nodes[NODE].status == "up")


async def test_a_node_that_is_drained_and_restarted_is_back() -> None:
    effects, log = machine(), MemoryLog()
    async with Site(log, effects).running() as site:
        await site.assign()
        await site.until(ReplicaReady)
        await site.ask(DrainNode(**identity("drain"), node_id=NODE, reason="maintenance"))
    async with Site(log, effects, boot_id="boot-2").running() as site:
        await eventually(lambda: site.fleet.state.nodes[NODE].status == "up")
