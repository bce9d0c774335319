"""A simulated gateway worker: the real data plane, from a caller's bytes to the scripted replicas' and back.

Only the two ends of the wire are played. What the gateway claims of an answer is compared with who gave it.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import msgspec
import uvicorn
from uvicorn.server import ServerState

from events.base import ORIGIN, DeploymentId, KeyId, Position, ReplicaId
from events.signals import Signal
from gateway.addresses import Target
from gateway.dataplane.front import http_protocol
from gateway.dataplane.plane import DataPlane
from gateway.dataplane.settings import DataPlaneSettings
from gateway.insight.answers import AnswersTold
from gateway.insight.worker import Insight
from projections.access import ACCESS
from projections.follow import Follower
from projections.routing import ROUTING
from projections.view import View
from tests.sim.checkers.base import Violation
from tests.sim.processes import Process
from tests.sim.wire import Answered

if TYPE_CHECKING:
    from tests.sim.network import Side
    from tests.sim.world import World

KEY_ID, KEY = KeyId("caller"), "caller.secret"
PARK_DEADLINE_S = 90.0
SETTINGS = DataPlaneSettings(park_deadline_s=PARK_DEADLINE_S, call_deadline_s=60.0)


class CallRecord(msgspec.Struct):
    """What became of one call."""

    number: int
    target: Target
    ended: str = ""
    """answered, refused, broken (its connection to the gateway or its answer broke); empty while it runs."""
    why: str = ""
    deployment_id: DeploymentId | None = None
    replica_id: ReplicaId | None = None
    routed_at: Position = ORIGIN


class Mouth:
    """A dead process says nothing more, even where a timer of its outlives it."""

    def __init__(self, side: "Side") -> None:
        self.shut = False
        self._side = side

    async def publish(self, signal: Signal) -> None:
        if not self.shut:
            await self._side.publish(signal)

    def listen(self) -> AsyncIterator[Signal]:
        return self._side.listen()


class GatewayProcess(Process):
    plane: DataPlane | None = None

    def __init__(self, world: "World", name: str) -> None:
        super().__init__(world, name)
        self.callers: dict[CallerEnd, None] = {}

    async def life(self) -> None:
        table, access = View(ROUTING), View(ACCESS)
        self.views = (table, access)
        follower = Follower(self.log, self.views, self.snapshots)
        await follower.catch_up()
        mouth = Mouth(self.signals)
        insight = Insight()
        answers = AnswersTold(table, mouth, f"{self.name}.{self.lives}")
        insight.also(answers)
        self.plane = plane = DataPlane(
            table,
            access,
            mouth,
            SETTINGS,
            worker=f"{self.name}.{self.lives}",
            stale_since=lambda: None,
            status_of=lambda deployment_id: None,
            insight=insight,
        )
        self._listen(plane)
        try:
            await follower.run()
        finally:
            mouth.shut, self.plane = True, None
            for caller in tuple(self.callers):
                caller.over("broken", f"{self.name} died")
            await answers.close()
            await plane.close()

    def _listen(self, plane: DataPlane) -> None:
        self._config = uvicorn.Config(
            nothing_else, http=http_protocol(plane), ws="none", lifespan="off", interface="asgi3", log_config=None
        )
        self._config.load()
        self._state = ServerState()

    def call(self, record: CallRecord, seconds: float) -> None:
        if self.plane is None:
            self.world.call_ended(record, "broken", f"{self.name} is not up")
            return
        protocol: Any = self._config.http_protocol_class
        caller = CallerEnd(self, record)
        self.callers[caller] = None
        caller.call(protocol(config=self._config, server_state=self._state, app_state={}), seconds)

    def wake(self, target: Target) -> None:
        if self.plane is not None:
            self.plane.wake(target)


async def nothing_else(scope: Any, receive: Any, send: Any) -> None:
    raise NotImplementedError("the simulator's callers only call models")


class CallerEnd(asyncio.Transport):
    """The connection that a call comes on, and the caller behind it."""

    def __init__(self, gateway: GatewayProcess, record: CallRecord) -> None:
        super().__init__({"peername": ("192.0.2.1", 40000)})
        self._gateway, self._record = gateway, record
        self._arrived = b""

    def call(self, protocol: Any, seconds: float) -> None:
        target = self._record.target
        place = f"environments/{target.name}" if target.by == "environment" else f"deployment/{target.name}"
        head = (
            f"POST /model-{target.model_id}/{place}/predict HTTP/1.1",
            "host: plane",
            f"authorization: Api-Key {KEY}",
            "content-length: 0",
            f"x-seconds: {seconds:g}",
        )
        self._protocol = protocol
        protocol.connection_made(self)
        protocol.data_received("\r\n".join((*head, "", "")).encode())

    def write(self, data: Any) -> None:
        self._arrived += bytes(data)
        head, mark, body = self._arrived.partition(b"\r\n\r\n")
        if not mark:
            return
        status, *lines = head.split(b"\r\n")
        said = dict(line.lower().split(b": ", 1) for line in lines)
        if len(body) < int(said[b"content-length"]):
            return
        self._record.routed_at = Position(int(said[b"x-causeway-position"]))
        if status.split()[1] == b"200":
            self._answered(said, msgspec.json.decode(body, type=Answered))
        else:
            self.over("refused", f"{status.split()[1].decode()} {body.decode()}")

    def _answered(self, said: dict[bytes, bytes], truth: Answered) -> None:
        record = self._record
        record.deployment_id, record.replica_id = truth.deployment_id, truth.replica_id
        claimed = (said[b"x-causeway-deployment"].decode(), said[b"x-causeway-replica"].decode())
        if claimed != (truth.deployment_id, truth.replica_id):
            self._gateway.world.fail(Violation(f"call {record.number}: {truth} answered, the gateway says {claimed}"))
        self.over("answered", "")

    def over(self, ended: str, why: str) -> None:
        """The caller has what it wanted, or never will."""
        if self in self._gateway.callers:
            del self._gateway.callers[self]
            self._gateway.world.call_ended(self._record, ended, why)
            self._gateway.world.loop.call_soon(self._protocol.connection_lost, None)

    def close(self) -> None:
        self.over("broken", "the gateway closed the connection")

    def abort(self) -> None:
        self.over("broken", "the gateway broke the connection")

    def is_closing(self) -> bool:
        return self not in self._gateway.callers

    def pause_reading(self) -> None:
        return None

    def resume_reading(self) -> None:
        return None


def in_flight(plane: DataPlane) -> Any:
    """What it has at replicas, by its own count."""
    return {each: count for each, count in plane.loads.in_flight.items() if count}
