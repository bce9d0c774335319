"""One node agent on a log, with everything real but what it is given."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from secrets import token_hex
from typing import Any, TypeVar

from agents.effects import Effects
from agents.node import Node, Offer
from agents.reconcile import Patience
from agents.weights.fetch import Corrupt
from events.base import (
    Actor,
    BlobDigest,
    BuildId,
    CommandId,
    CorrelationId,
    DeploymentId,
    Event,
    ModelId,
    NodeId,
    ReplicaId,
    StreamName,
)
from events.log import Log
from events.replica import ReplicaFailed, ReplicaLost, ReplicaStopped
from events.signals.memory import MemorySignals
from events.weights import Mount
from handlers.base import Command
from handlers.clock import SystemClock
from handlers.deciders.replica import AssignReplica, DrainReplica
from handlers.decisions import DECISIONS
from handlers.dispatch import Dispatch, Outcome
from projections.fleet import FLEET
from projections.follow import Follower
from projections.replica_targets import REPLICA_TARGETS
from projections.view import View

NODE = NodeId("node-1")
R1 = ReplicaId("r-1")
NO_BLOB = BlobDigest("sha256:" + "0" * 64)
ENDS = (ReplicaStopped, ReplicaFailed, ReplicaLost)
PATIENCE_S = 240.0
QUICK = Patience(grace_s=0.05, tell_again_s=0.02, prepare_again_s=0.02, probe_every_s=0.1)
E = TypeVar("E", bound=Event)


D1 = DeploymentId("d-1")


class Site:
    def __init__(self, log: Log, effects: Effects, *, patience: Patience = QUICK, boot_id: str = "boot-1") -> None:
        self.log, self.effects = log, effects
        self.targets, self.fleet, decisions = View(REPLICA_TARGETS), View(FLEET), View(DECISIONS)
        self._follower = Follower(log, [decisions, self.targets, self.fleet])
        self._dispatch = Dispatch(log, decisions, SystemClock())
        self.signals = MemorySignals()
        self.corrupt: asyncio.Queue[Corrupt] = asyncio.Queue()
        self.silence: Exception | None = None
        """Raised instead of every report of the agent, while set."""
        self.node = Node(
            Offer(NODE, boot_id, "10.0.0.1", 8000, 16 << 30, "process"),
            token_hex(4),
            targets=self.targets,
            fleet=self.fleet,
            effects=effects,
            dispatch=self._report,
            signals=self.signals,
            clock=SystemClock(),
            patience=patience,
            heartbeat_every_s=0.05,
            corrupt=self.corrupt,
        )

    async def _report(self, command: Command) -> Outcome:
        if self.silence is not None:
            raise self.silence
        return await self._dispatch(command)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Site"]:
        """With its agent at work; ends as if the agent's process had been killed."""
        await self._follower.catch_up()  # Before the agent acts on what it sees.
        async with asyncio.TaskGroup() as group:  # An agent that dies fails the test at once.
            agent = group.create_task(self.node.run())
            try:
                async with self.watching():
                    yield self
            finally:
                agent.cancel()

    @asynccontextmanager
    async def watching(self) -> AsyncIterator["Site"]:
        """Without an agent: it runs elsewhere."""
        await self._follower.catch_up()
        async with asyncio.TaskGroup() as group:
            following = group.create_task(self._follower.run())
            try:
                yield self
            finally:
                following.cancel()

    async def ask(self, command: Command) -> None:
        await self._dispatch(command)

    async def assign(
        self,
        replica_id: ReplicaId = R1,
        *,
        bundle: BlobDigest = NO_BLOB,
        environment: BlobDigest = NO_BLOB,
        memory_bytes: int = 1 << 30,
        cpu_millicores: int = 1000,
        deployment_id: DeploymentId = D1,
        weights: tuple[Mount, ...] = (),
    ) -> None:
        command = AssignReplica(
            **identity(f"assign-{replica_id}"),
            replica_id=replica_id,
            model_id=ModelId("m-1"),
            deployment_id=deployment_id,
            node_id=NODE,
            ordinal=1,
            build_id=BuildId("b-1"),
            bundle=bundle,
            environment=environment,
            python_version="3.11",
            cpu_millicores=cpu_millicores,
            memory_bytes=memory_bytes,
            predict_concurrency=1,
            reason="a test wants it",
            weights=weights,
        )
        await self.ask(command)

    async def drain(self, replica_id: ReplicaId = R1) -> None:
        identified = identity(f"drain-{replica_id}")
        await self.ask(DrainReplica(**identified, replica_id=replica_id, reason="no longer needed"))

    async def until(self, *kinds: type[E], replica_id: ReplicaId = R1, count: int = 1) -> E:
        """The nth event of this replica that is one of `kinds`. Fails at once if it ended otherwise."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                history = await self.events_of(replica_id)
                found = [event for event in history if isinstance(event, kinds)]
                if len(found) >= count:
                    return found[count - 1]
                assert not (history and isinstance(history[-1], ENDS)), history
                position = max(self.fleet.position, await self.log.head())
                await self.fleet.reached(type(position)(position + 1))

    async def events_of(self, replica_id: ReplicaId = R1) -> list[Any]:
        history = await self.log.read(stream=StreamName("replica", replica_id))
        return [recorded.event for recorded in history]

    async def names_of(self, replica_id: ReplicaId = R1) -> list[str]:
        return [type(event).__name__ for event in await self.events_of(replica_id)]

    async def until_joined(self) -> None:
        await eventually(lambda: NODE in self.fleet.state.nodes)

    async def forgotten(self, replica_id: ReplicaId = R1) -> None:
        await eventually(lambda: replica_id not in self.node.loop.actual.replicas)


async def eventually(holds: Callable[[], bool]) -> None:
    """For what no event tells: files and processes."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def identity(name: str) -> dict[str, Any]:
    return {"id": CommandId(f"test-{name}"), "actor": Actor("test", "internal"), "correlation_id": CorrelationId(name)}
