"""What the agent may expect of a machine: the same tests for the real runtime and its scripted twin."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from random import Random

import aiohttp
import msgspec
import pytest

from agents.effects import (
    AwaitExit,
    Done,
    DrainReplica,
    EffectFailed,
    Effects,
    Exited,
    ForgetReplica,
    Prepared,
    PrepareReplica,
    Probed,
    ProbeReplica,
    Running,
    StartReplica,
    StopReplica,
)
from agents.effects.fake import FakeEffects, Script
from agents.effects.limits import find_limits
from agents.effects.sandbox import Sandbox
from events.base import CorrelationId, DeploymentId, EventId, ModelId
from handlers.clock import SystemClock
from projections.replica_targets import ReplicaTarget
from projections.stores.blobs import FolderBlobs
from tests.agents.node.bundles import Template, runtime
from tests.agents.node.conftest import cleared
from tests.agents.node.site import NO_BLOB, R1

MODEL = """
import time
class Model:
    def load(self):
        pass
    def predict(self, seconds):
        time.sleep(seconds)
"""
BROKEN = MODEL.replace("pass", "raise ValueError('scripted')")
TARGET = ReplicaTarget(
    R1, ModelId("m"), DeploymentId("d"), NO_BLOB, NO_BLOB, "3.11", 1000, 1 << 30, 1, EventId("e"), CorrelationId("c")
)


class Rig:
    """A machine, the targets that it can run, a way to call them, and the machine as its next agent gets it."""

    def __init__(
        self,
        effects: Effects,
        next_agent: Callable[[], Effects],
        request: Callable[[str, float], Awaitable[None]],
        targets: dict[str, ReplicaTarget],
    ) -> None:
        self.effects, self.next_agent, self.request, self.targets = effects, next_agent, request, targets

    async def started(self, kind: str = "good") -> Running:
        target = self.targets[kind]
        assert isinstance(await self.effects.perform(PrepareReplica(target)), Prepared)
        running = await self.effects.perform(StartReplica(target))
        assert isinstance(running, Running)
        return running

    async def ready(self) -> Running:
        running = await self.started()
        async with asyncio.timeout(60):
            while await self.effects.perform(ProbeReplica(R1)) != Probed("ready"):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        return running

    def exit(self, effects: Effects | None = None) -> "asyncio.Task[Exited]":
        async def wait() -> Exited:
            async with asyncio.timeout(60):
                exited = await (effects or self.effects).perform(AwaitExit(R1))
            assert isinstance(exited, Exited)
            return exited

        return asyncio.create_task(wait())


def scripted() -> Rig:
    scripts = {
        "good": Script(prepare_s=0.01, start_s=0.01, load_s=0.02),
        "broken": Script(prepare_s=0.01, start_s=0.01, load_s=0.02, fails="load", says="ValueError: scripted"),
        "missing": Script(prepare_s=0.01, fails="environment", says="no blob"),
    }
    targets = {kind: msgspec.structs.replace(TARGET, reason=kind) for kind in scripts}
    effects = FakeEffects(SystemClock(), Random(1), lambda target, random: scripts[target.reason])
    return Rig(effects, lambda: effects, effects.handle, targets)


async def real(template: Template, state: Path, sandbox: Sandbox) -> Rig:
    targets = {"missing": TARGET}
    for kind, model in (("good", MODEL), ("broken", BROKEN)):
        bundle, environment = await template.put(FolderBlobs(state / "blobs"), model)
        targets[kind] = msgspec.structs.replace(TARGET, bundle=bundle, environment=environment)

    async def request(address: str, seconds: float) -> None:
        async with aiohttp.ClientSession() as session:
            async with session.post(f"http://{address}/v1/models/model:predict", json=seconds) as answer:
                assert answer.status == 200

    def agent() -> Effects:
        return runtime(state, sandbox, find_limits())

    return Rig(agent(), agent, request, targets)


@pytest.fixture(params=["scripted", "real"])
async def rig(
    request: pytest.FixtureRequest, truss_template: Template, best_sandbox: Sandbox, tmp_path: Path
) -> AsyncIterator[Rig]:
    if request.param == "scripted":
        yield scripted()
        return
    async with cleared(tmp_path):
        yield await real(truss_template, tmp_path, best_sandbox)


async def test_a_new_machine_runs_nothing(rig: Rig) -> None:
    assert await rig.effects.survey() == ()


async def test_a_replica_is_prepared_started_ready_and_answers(rig: Rig) -> None:
    running = await rig.ready()
    await rig.request(running.address, 0)


async def test_draining_waits_for_what_runs(rig: Rig) -> None:
    running = await rig.ready()
    exit = rig.exit()
    request = asyncio.ensure_future(rig.request(running.address, 0.5))
    await asyncio.sleep(0.2)
    assert await rig.effects.perform(DrainReplica(R1, 0.01, "enough")) == Done()
    assert (await exit).exit_code in (0, 143)
    assert request.done() and request.exception() is None


async def test_stopping_cuts(rig: Rig) -> None:
    await rig.ready()
    exit = rig.exit()
    assert await rig.effects.perform(StopReplica(R1, "now")) == Done()
    assert (await exit).exit_code == 137


async def test_a_failing_load_ends_the_process_with_the_reason(rig: Rig) -> None:
    await rig.started("broken")
    exited = await rig.exit()
    assert "ValueError: scripted" in exited.reason and not exited.port_taken


async def test_what_cannot_be_prepared_comes_back_as_a_result(rig: Rig) -> None:
    failed = await rig.effects.perform(PrepareReplica(rig.targets["missing"]))
    assert isinstance(failed, EffectFailed) and "no blob" in failed.reason


async def test_giving_up_waiting_stops_nothing_and_the_next_agent_finds_it(rig: Rig) -> None:
    running = await rig.ready()
    waiting = rig.exit()
    await asyncio.sleep(0)
    waiting.cancel()
    successor = rig.next_agent()
    (found,) = await successor.survey()
    assert (found.replica_id, found.process, found.was_ready) == (R1, running, True)
    await rig.request(running.address, 0)
    exit = rig.exit(successor)
    await successor.perform(StopReplica(R1, "now"))
    assert (await exit).exit_code == 137


async def test_what_ended_between_two_agents_is_found_too(rig: Rig) -> None:
    await rig.ready()
    await rig.effects.perform(StopReplica(R1, "now"))
    await rig.exit()
    successor = rig.next_agent()
    assert [found.replica_id for found in await successor.survey()] == [R1]
    assert (await rig.exit(successor)).exit_code == 137


async def test_what_was_only_prepared_is_not_found_and_can_be_prepared_again(rig: Rig) -> None:
    target = rig.targets["good"]
    await rig.effects.perform(PrepareReplica(target))
    successor = rig.next_agent()
    assert await successor.survey() == ()
    assert isinstance(await successor.perform(PrepareReplica(target)), Prepared)


async def test_nothing_is_left_of_what_was_forgotten(rig: Rig) -> None:
    await rig.ready()
    await rig.effects.perform(StopReplica(R1, "now"))
    await rig.exit()
    forget = ForgetReplica(R1, TARGET.deployment_id)
    async with asyncio.timeout(30):
        while isinstance(await rig.effects.perform(forget), EffectFailed):  # noqa: ASYNC110
            await asyncio.sleep(0.05)  # The kernel takes a moment to empty a control group.
    assert await rig.next_agent().survey() == ()
