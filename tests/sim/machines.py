"""Simulated machines: nodes that run the real agent over scripted replicas, and builders that build in no time at all.

A node's machine outlives its agent; when it loses power its replicas are gone and it comes back with another boot id.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING, Any

from agents.build_steps import BuildBroken, Built, OnLine, StepEnded, Tell
from agents.builder import Builder
from agents.builds import BUILDS, OpenBuild
from agents.effects.fake import FakeEffects, Script
from agents.node import Node, Offer
from events.base import BlobDigest, DeploymentId, NodeId, derive
from events.signals.log_lines import LogLine
from events.weights import ManifestId, Mount
from projections.fleet import FLEET
from projections.replica_targets import REPLICA_TARGETS, ReplicaTarget
from projections.view import View
from tests.sim.processes import FollowingProcess

if TYPE_CHECKING:
    from tests.sim.world import World

HEARTBEAT_S = 5.0
SIZES = ((4000, 8 << 30), (2000, 4 << 30), (6000, 6 << 30))


class NodeProcess(FollowingProcess):
    """A node's agent, and its machine."""

    folds = (REPLICA_TARGETS, FLEET)
    agent: Node | None = None

    def __init__(self, world: "World", number: int) -> None:
        super().__init__(world, f"node-{number}")
        self.node_id = NodeId(self.name)
        self.host = f"10.0.0.{number + 1}"
        self.cpu_millicores, self.memory_bytes = SIZES[number % len(SIZES)]
        self.boot = 1
        self.powered = True
        self.destroyed = False
        """For good."""
        scripts = world.scripts
        self.effects = FakeEffects(self.clock, world.dice(f"{self.name}'s machine"), scripts.replica, host=self.host)

    async def lose_power(self) -> None:
        self.powered = False
        await self.crash()
        self.effects.power_off()

    def boot_up(self) -> None:
        if self.destroyed:
            return
        if not self.powered:
            self.powered, self.boot = True, self.boot + 1
        self.start()

    async def work(self, *own: View[Any]) -> None:
        targets, fleet = own
        offer = Offer(
            node_id=self.node_id,
            boot_id=f"boot-{self.boot}",
            host=self.host,
            cpu_millicores=self.cpu_millicores,
            memory_bytes=self.memory_bytes,
            isolation="process",
        )
        self.agent = Node(
            offer,
            f"{self.name}.{self.lives}",
            targets=targets,
            fleet=fleet,
            effects=self.effects,
            dispatch=self.dispatch,
            signals=self.signals,
            clock=self.clock,
            heartbeat_every_s=HEARTBEAT_S,
        )
        try:
            await self.agent.run()
        finally:
            self.agent = None


class BuilderProcess(FollowingProcess):
    folds = (BUILDS,)

    async def work(self, *own: View[Any]) -> None:
        (builds,) = own
        bench = SimBench(self.world.scripts)
        await Builder(NodeId(self.name), dispatch=self.dispatch, builds=builds, workshop=bench, logs=NoLines()).run()


class SimBench:
    def __init__(self, scripts: "Scripts") -> None:
        self._scripts = scripts

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        yield

    async def build(self, build: OpenBuild, on_line: OnLine, tell: Tell) -> Built:
        seconds, broken_at = self._scripts.build(build)
        for step in ("unpack", "context", "resolve", "environment", "package"):
            await asyncio.sleep(seconds / 5)
            if step == broken_at:
                raise BuildBroken(step, "scripted")
            on_line(step)
            if step in ("environment", "package"):
                await tell(StepEnded(step, round(seconds / 5, 3), False, ""))
        digest = BlobDigest(f"sha256:{derive(build.source)}")
        heavy = self._scripts.broken("weights", build.deployment_id, 0.4)
        weights = (Mount(ManifestId("0" * 64), "/weights"),) if heavy else ()
        return Built(digest, digest, "3.11", derive("truss", build.source), digest, weights)


class NoLines:
    def write(self, deployment_id: DeploymentId, line: LogLine) -> None:
        return None

    def close(self, deployment_id: DeploymentId, source: str) -> None:
        return None


class Scripts:
    """How models behave. Some are broken for good; the others only fail while faults are on."""

    def __init__(self, seed: int, random: Random) -> None:
        self.faults = True
        self._seed = seed
        self._random = random

    def broken(self, what: str, deployment_id: DeploymentId, share: float) -> bool:
        """The same answer whenever it is asked."""
        return Random(f"{self._seed} {what} {deployment_id}").random() < share

    def build(self, build: OpenBuild) -> tuple[float, str | None]:
        """Seconds, and the step that fails."""
        dice = self._random
        seconds = dice.uniform(0.5, 6.0)
        broken = self.broken("build", build.deployment_id, 0.06) or (self.faults and dice.random() < 0.06)
        return seconds, dice.choice(("context", "resolve", "environment")) if broken else None

    def replica(self, target: ReplicaTarget, random: Random) -> Script:
        if self.broken("load", target.deployment_id, 0.06):
            return Script(load_s=1.0, fails="load", says="ImportError: no module named scripted")
        failing = self.faults and random.random() < 0.3
        own = Random(f"{self._seed} weights {target.replica_id}")
        quick = Script(
            weights_s=own.uniform(0.01, 4.0),
            weights_lack=("mirror", "room", "corrupt")[: own.randrange(4)] if self.faults else (),
            patch_s=random.uniform(0.05, 3.0),
            patch_fails=failing,
            prepare_s=random.uniform(0.05, 1.5),
            start_s=random.uniform(0.02, 0.2),
            load_s=random.uniform(0.2, 3.0),
        )
        if not self.faults:
            return quick
        bad = (
            (0.05, Script(fails="environment", says="no space left on device")),
            (0.04, Script(fails="start", says="exec format error")),
            (0.08, Script(fails="load", says="RuntimeError: scripted")),
            (0.08, Script(load_s=random.uniform(10.0, 70.0))),
            (0.06, Script(crashes_after_s=random.uniform(0.0, 30.0), says="segmentation fault")),
        )
        chance = random.random()
        for share, script in bad:
            chance -= share
            if chance < 0:
                return script
        return quick
