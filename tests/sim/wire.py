"""Connections to scripted replicas: what `loop.create_connection` gives on the simulated network.

Just enough HTTP for the real data plane's connections: a request is read whole, runs at the replica for as long as its
`x-seconds` header says, and is answered with the replica's own name. A dead machine does not answer a dial at all.
"""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec

from agents.effects.fake import FakeEffects, Process
from events.base import DeploymentId, ReplicaId
from tests.sim.checkers.base import Violation

KILLED = (143, 137)


class Answered(msgspec.Struct):
    """The body of an answer: who gave it."""

    deployment_id: DeploymentId
    replica_id: ReplicaId


class Machine(msgspec.Struct):
    """Where an address leads to."""

    effects: FakeEffects
    powered: Callable[[], bool]


class Manner(msgspec.Struct, frozen=True):
    """How a deployment answers."""

    status: int = 200
    times_as_long: float = 1.0


class SimWire:
    def __init__(
        self,
        random: Random,
        machine_at: Callable[[str], Machine],
        manner_of: Callable[[DeploymentId], Manner],
        broken: Callable[[Exception], None],
    ) -> None:
        self._random = random
        self._machine_at = machine_at
        self._manner_of = manner_of
        self._broken = broken

    async def connect(self, factory: Callable[[], Any], host: str, port: int) -> tuple[asyncio.Transport, Any]:
        machine, address = self._machine_at(host), f"{host}:{port}"
        await asyncio.sleep(self._random.uniform(0.0001, 0.002))
        if not machine.powered():
            await asyncio.sleep(60.0)  # Longer than anybody waits for a connection.
        process = next((each for each in machine.effects.processes.values() if each.running.address == address), None)
        if process is None or process.exited.done() or process.terminated:
            raise ConnectionRefusedError(111, "Connection refused")
        protocol = factory()
        manner = self._manner_of(process.target.deployment_id)
        transport = ReplicaTransport(protocol, machine.effects, process, manner, self._broken)
        protocol.connection_made(transport)
        return transport, protocol


class ReplicaTransport(asyncio.Transport):
    """The gateway's end of a connection; the replica's end is played here as well."""

    def __init__(
        self,
        protocol: Any,
        effects: FakeEffects,
        process: Process,
        manner: Manner,
        broken: Callable[[Exception], None],
    ) -> None:
        super().__init__()
        self._protocol, self._effects, self._process = protocol, effects, process
        self._manner = manner
        self._broken = broken
        self._loop = asyncio.get_running_loop()
        self._arrived = b""
        self._closing = False
        self._request: asyncio.Task[None] | None = None
        process.exited.add_done_callback(self._exited)

    def write(self, data: Any) -> None:
        if self._closing:
            return
        self._arrived += bytes(data)
        head, mark, _ = self._arrived.partition(b"\r\n\r\n")
        if mark and self._request is None:
            self._arrived = b""
            self._request = self._loop.create_task(self._serve(_seconds(head)))

    async def _serve(self, seconds: float) -> None:
        process = self._process
        try:
            await self._effects.handle(process.running.address, seconds * self._manner.times_as_long)
        except ConnectionRefusedError:
            self._lose(None)  # It has been told to stop and takes no more.
        except ConnectionResetError:
            exited = process.exited.result()
            if exited.exit_code in KILLED and not process.hung:
                self._broken(Violation(f"a running call at {process.running.address} was cut: {exited}"))
            self._lose(ConnectionResetError(104, exited.reason))
        else:
            self._request = None
            body = msgspec.json.encode(Answered(process.target.deployment_id, process.target.replica_id))
            head = b"HTTP/1.1 %d Said\r\ncontent-length: %d\r\n\r\n" % (self._manner.status, len(body))
            answer = head + body
            if not self._closing:
                self._protocol.data_received(answer)

    def _exited(self, exited: object) -> None:
        if self._request is None:
            self._lose(None)

    def _lose(self, error: Exception | None) -> None:
        if not self._closing:
            self._closing = True
            self._protocol.connection_lost(error)

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            if self._request is not None:
                self._request.cancel()
            self._loop.call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        raise NotImplementedError("callers of the simulator read at once")

    def resume_reading(self) -> None:
        return None


def _seconds(head: bytes) -> float:
    lines = (line.partition(b": ") for line in head.split(b"\r\n"))
    return next(float(value) for name, _, value in lines if name == b"x-seconds")
