"""What happens to one model: its events in a real log, and its replicas as real processes."""

import asyncio
import signal
import sys
from datetime import UTC, datetime
from itertools import count

from events.base import (
    ORIGIN,
    Actor,
    CommandId,
    CorrelationId,
    DeploymentId,
    EventId,
    Metadata,
    Position,
    ReplicaId,
    StreamName,
)
from events.log.jetstream import JetStreamLog
from events.replica import ReplicaUnready
from events.union import AnyEvent
from tests.gateway.dataplane import happened
from tests.gateway.dataplane.happened import KEY, MODEL, ONE, TWO

CONCURRENCY = 1000


class Story:
    def __init__(self, log: JetStreamLog) -> None:
        self._log = log
        self._last: dict[StreamName, Position] = {}
        self._numbers = count(1)
        self.processes: dict[str, asyncio.subprocess.Process] = {}
        self._deployments: dict[str, DeploymentId] = {}
        self._addresses: dict[str, str] = {}

    async def begin(self) -> None:
        """The model, two deployments, the first of which serves production, and a key."""
        await self._add("key", KEY.partition(".")[0], happened.issued(scopes=("invoke", "metrics")))
        await self._add("model", MODEL, happened.registered())
        for deployment in (ONE, TWO):
            await self._add("model", MODEL, happened.pushed(deployment, concurrency=CONCURRENCY))
        await self.switch(ONE)

    async def switch(self, deployment: DeploymentId) -> Position:
        return await self._add("environment", f"{MODEL}/production", happened.promoted(deployment))

    async def start(self, name: str, deployment: DeploymentId) -> None:
        """A replica, up and in the table."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.gateway.chaos.replica", name,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        self.processes[name], self._deployments[name] = process, deployment
        port = int(await process.stdout.readline())
        self._addresses[name] = f"127.0.0.1:{port}"
        await self.ready_again(name)

    async def unready(self, name: str) -> None:
        event = ReplicaUnready(replica_id=ReplicaId(name), deployment_id=self._deployments[name], reason="asleep")
        await self._add("replica", name, event)

    async def ready_again(self, name: str) -> None:
        await self._add("replica", name, happened.ready(name, self._addresses[name], self._deployments[name]))

    async def kill(self, name: str) -> Position:
        """As a crash; its node agent says so a moment later."""
        self.processes[name].kill()
        await self.processes[name].wait()
        await asyncio.sleep(0.3)
        return await self._add("replica", name, happened.failed(name, self._deployments[name]))

    async def drain(self, name: str) -> Position:
        """Out of the table; it ends when what runs there has ended."""
        position = await self._add("replica", name, happened.draining(name, self._deployments[name]))
        await asyncio.sleep(1.0)  # A node agent gives the gateways time to hear of it.
        self.processes[name].send_signal(signal.SIGTERM)
        await self.processes[name].wait()
        return position

    async def end(self) -> None:
        for process in self.processes.values():
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def _add(self, category: str, name: str, event: AnyEvent) -> Position:
        stream, number = StreamName(category, name), next(self._numbers)
        meta = Metadata(
            id=EventId(f"chaos-e{number}"),
            command_id=CommandId(f"chaos-c{number}"),
            correlation_id=CorrelationId("chaos"),
            causation_id=None,
            actor=Actor("operator", "test"),
            at=datetime.now(UTC),
        )
        position = await self._log.append(stream, ((event, meta),), self._last.get(stream, ORIGIN))
        self._last[stream] = position
        return position
