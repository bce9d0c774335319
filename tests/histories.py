"""Realistic histories for tests: real commands through the real dispatch, the real reactors deciding what follows.

The test plays what is outside: the person who pushes, the builder, the node's agent, the gateway's signals, the clock.

    async with history() as plane:
        first = await plane.push("iris")
        await plane.build(first)
        await plane.bring_ready(first)
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from events.base import (
    Actor,
    BlobDigest,
    CommandId,
    CorrelationId,
    DeploymentId,
    KeyId,
    ModelId,
    NodeId,
    Position,
    ReplicaId,
    derive,
)
from events.codec import Recorded
from events.log.memory import MemoryLog
from events.scaling import AutoscalingSettings
from events.signals import Heartbeat, Load, Signal
from handlers.base import Command, Refused, called_for
from handlers.deciders.access import IssueKey
from handlers.deciders.build import ReportBuildFailed, ReportBuildStep, ReportBuildSucceeded, StartBuild
from handlers.deciders.environment import CreateEnvironment
from handlers.deciders.model import PushDeployment, model_id_of
from handlers.deciders.node import DeclareNodeLost, JoinNode
from handlers.deciders.promotion_commands import StartPromotion
from handlers.deciders.replica import (
    ReportEnvironmentReady,
    ReportFailed,
    ReportProcessStarted,
    ReportReady,
    ReportStopped,
)
from handlers.decisions import DECISIONS
from handlers.dispatch import Dispatch, Outcome
from handlers.reactors import REACTORS
from handlers.run_reactors import reactor_view
from projections.deployments import DEPLOYMENTS
from projections.fleet import FLEET
from projections.follow import Follower
from projections.view import View

START = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
PERSON = Actor("key:ada", "api key")
NODE = NodeId("node-a")
BUILDER = NodeId("builder-a")
_BLOB = BlobDigest("sha256:" + "ab" * 32)


class TestClock:
    def __init__(self) -> None:
        self.at = START

    def now(self) -> datetime:
        return self.at


class Plane:
    """The parts of a plane that decide, over a log in memory, without anything that runs by itself."""

    def __init__(self, log: MemoryLog) -> None:
        self.log = log
        self.clock = TestClock()
        self.decisions = View(DECISIONS)
        self.catalogue = View(DEPLOYMENTS)
        self.fleet = View(FLEET)
        self.reactors = {each.name: (each, reactor_view(each, START)) for each in REACTORS}
        self.dispatch = Dispatch(log, self.decisions, self.clock)
        self._count = 0

    @property
    def views(self) -> tuple[View[Any], ...]:
        return (self.decisions, self.catalogue, self.fleet, *(view for _, view in self.reactors.values()))

    def tick(self, seconds: float = 1.0) -> None:
        self.clock.at += timedelta(seconds=seconds)

    def asked(self, actor: Actor = PERSON) -> dict[str, Any]:
        """The identity of a command that somebody outside sends."""
        self._count += 1
        name = derive("test command", self._count, length=24)
        return {"id": CommandId(name), "correlation_id": CorrelationId(name), "actor": actor}

    def reported(self, agent: str = NODE) -> dict[str, Any]:
        return self.asked(Actor(f"agent:{agent}", "node token"))

    async def do(self, command: Command) -> Outcome:
        """Carries the command out, a quarter of a second later, and then all that the reactors make of it."""
        self.tick(0.25)
        outcome = await self.dispatch(command)
        await self.settle()
        return outcome

    async def settle(self) -> None:
        for node in self.fleet.state.nodes.values():
            if node.status == "up":
                self.hear(Heartbeat(node_id=node.node_id, boot_id=node.boot_id, at=self.clock.now()))
        done: set[CommandId] = set()
        while True:
            ripe = [
                due.command
                for reactor, view in self.reactors.values()
                for due in called_for(reactor, view.state, self.clock.now())
                if due.command.id not in done
            ]
            if not ripe:
                return
            for command in ripe:
                self.tick(0.01)
                done.add(command.id)
                await self.dispatch(command)

    def hear(self, signal: Signal) -> None:
        for reactor, view in self.reactors.values():
            view.state = reactor.hear(view.state, signal, self.clock.now())

    # --- what people do

    async def push(self, name: str = "iris", environment: str | None = None) -> DeploymentId:
        command = PushDeployment(
            **self.asked(),
            model_id=model_id_of("default", name),
            model_name=name,
            team="default",
            name=None,
            is_development=False,
            source=_BLOB,
            config=_BLOB,
            raw_config=None,
            environment=environment,
            scale_down_previous=True,
            cpu_millicores=1000,
            memory_bytes=512 << 20,
            predict_concurrency=1,
            deploy_timeout_s=600,
            labels="{}",
            client="{}",
        )
        await self.do(command)
        return DeploymentId(derive("deployment", command.id))

    async def promote(self, deployment_id: DeploymentId, environment: str = "production") -> None:
        model_id = self.model_of(deployment_id)
        await self.do(
            StartPromotion(
                **self.asked(),
                model_id=model_id,
                environment=environment,
                deployment_id=deployment_id,
                is_development=False,
                wanted_replicas=1,
                cleanup="SCALE_TO_ZERO",
                deadline_s=600,
            )
        )

    async def create_environment(self, model_id: ModelId, name: str) -> None:
        settings = AutoscalingSettings(max_replica=2)
        await self.do(CreateEnvironment(**self.asked(), model_id=model_id, environment=name, autoscaling=settings))

    async def issue_key(self, name: str) -> None:
        key_id = KeyId(derive("key", name, length=8))
        await self.do(IssueKey(**self.asked(), key_id=key_id, name=name, hash="0" * 64, scopes=("invoke",)))

    # --- what machines do

    async def join(self, node_id: NodeId = NODE) -> None:
        await self.do(
            JoinNode(
                **self.reported(node_id),
                node_id=node_id,
                boot_id="boot-1",
                host="127.0.0.1",
                cpu_millicores=8000,
                memory_bytes=16 << 30,
                isolation="process",
            )
        )

    async def lose(self, node_id: NodeId = NODE) -> None:
        await self.do(DeclareNodeLost(**self.asked(), node_id=node_id, silent_for_s=20.0))

    async def build(self, deployment_id: DeploymentId, failure: str | None = None) -> None:
        build_id = self.catalogue.state.deployments[deployment_id].build_id
        assert build_id is not None, "the reactor has requested the build"
        await self.do(StartBuild(**self.reported(BUILDER), build_id=build_id, builder=BUILDER))
        self.tick(2)
        step = ReportBuildStep(
            **self.reported(BUILDER), build_id=build_id, step="environment", seconds=2.0, reused=False, detail=""
        )
        await self.do(step)
        if failure is not None:
            await self.do(
                ReportBuildFailed(
                    **self.reported(BUILDER), build_id=build_id, step="package", reason=failure, seconds=2.5
                )
            )
            return
        await self.do(
            ReportBuildSucceeded(
                **self.reported(BUILDER),
                build_id=build_id,
                bundle=_BLOB,
                environment=_BLOB,
                python_version="3.11",
                truss_hash="f" * 16,
                truss_signature=_BLOB,
                seconds=2.5,
            )
        )

    async def bring_ready(self, deployment_id: DeploymentId) -> None:
        """The node's agent brings every replica of the deployment that is being prepared to readiness."""
        for replica_id in self.replicas(deployment_id):
            if self.fleet.state.replicas[replica_id].phase != "assigned":
                continue
            await self.do(ReportEnvironmentReady(**self.reported(), replica_id=replica_id, seconds=0.5, reused=True))
            address = f"127.0.0.1:{40000 + len(self.fleet.state.replicas)}"
            await self.do(ReportProcessStarted(**self.reported(), replica_id=replica_id, pid=4242, address=address))
            self.tick(1.5)
            await self.do(ReportReady(**self.reported(), replica_id=replica_id, address=address, seconds=1.5))

    async def fail_replica(self, replica_id: ReplicaId, reason: str) -> None:
        await self.do(ReportFailed(**self.reported(), replica_id=replica_id, stage="run", reason=reason, exit_code=137))

    async def stop_drained(self) -> None:
        for placed in tuple(self.fleet.state.replicas.values()):
            if placed.draining:
                stopped = ReportStopped(**self.reported(), replica_id=placed.replica_id, reason="drained", exit_code=0)
                await self.do(stopped)

    async def park(self, deployment_id: DeploymentId) -> None:
        self.hear(Load(worker="w1", deployment_id=deployment_id, in_flight=0, parked=1, at=self.clock.now()))
        await self.settle()

    async def be_quiet(self, seconds: float = 1000.0) -> None:
        self.tick(seconds)
        await self.settle()

    # --- what a test may want to know

    def replicas(self, deployment_id: DeploymentId) -> tuple[ReplicaId, ...]:
        return tuple(placed.replica_id for placed in self.fleet.state.of(deployment_id))

    def model_of(self, deployment_id: DeploymentId) -> ModelId:
        return self.catalogue.state.deployments[deployment_id].model_id

    async def head(self) -> Position:
        return await self.log.head()


@asynccontextmanager
async def history() -> AsyncIterator[Plane]:
    plane = Plane(MemoryLog())
    following = asyncio.create_task(Follower(plane.log, plane.views).run())
    try:
        yield plane
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def two_versions_of_iris() -> MemoryLog:
    """Push, build, ready, production; a second version promoted; to zero when quiet; a parked request wakes it."""
    async with history() as plane:
        await plane.issue_key("ada")
        await plane.join()
        first = await plane.push("iris")
        await plane.build(first)
        await plane.bring_ready(first)
        plane.tick(30)
        second = await plane.push("iris", environment="production")
        await plane.build(second)
        await plane.bring_ready(second)
        await plane.stop_drained()
        await plane.be_quiet()
        await plane.stop_drained()
        await plane.park(second)
        await plane.bring_ready(second)
        return plane.log


async def random_history(choices: Sequence[int]) -> tuple[Recorded, ...]:
    """What happens when these things are done one after the other; what makes no sense just then is left out."""
    async with history() as plane:
        await plane.join()
        for choice in choices:
            await _do_something(plane, choice)
        return await plane.log.read()


async def _do_something(plane: Plane, choice: int) -> None:
    deployments = tuple(plane.catalogue.state.deployments.values())
    if choice % 8 == 0 or not deployments:
        await plane.push(("iris", "minilm")[choice // 8 % 2], environment="production" if choice % 3 else None)
        return
    chosen = deployments[choice // 8 % len(deployments)]
    replicas = plane.replicas(chosen.deployment_id)
    match choice % 8:
        case 1 | 2 if chosen.build == "requested":
            await plane.build(chosen.deployment_id, failure=None if choice % 5 else "no such package")
        case 3 | 4:
            await plane.bring_ready(chosen.deployment_id)
        case 5 if replicas:
            await plane.fail_replica(replicas[0], "killed by the kernel: out of memory")
        case 5 if chosen.build == "succeeded":
            with suppress(Refused):  # another promotion is under way
                await plane.promote(chosen.deployment_id)
        case 6:
            await plane.be_quiet()
            await plane.stop_drained()
        case 7 if chosen.target == 0:
            await plane.park(chosen.deployment_id)
        case 7:
            await plane.lose()
            await plane.join()


async def copied(history: tuple[Recorded, ...]) -> MemoryLog:
    """The same events in a new log: a log belongs to the event loop that it is followed in."""
    log = MemoryLog()
    last: dict[Any, Position] = {}
    decision: list[Recorded] = []
    for recorded in history:
        decision.append(recorded)
        if recorded.meta.index == recorded.meta.count - 1:
            drafts = tuple((each.event, each.meta) for each in decision)
            expected = last.get(recorded.stream, Position(0))
            last[recorded.stream] = await log.append(recorded.stream, drafts, expected)  # type: ignore[arg-type]
            decision = []
    return log
