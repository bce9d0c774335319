"""A simulated gateway worker: the real data plane, on simulated connections to scripted replicas.

Callers hand in parsed request heads and collect the bytes of the answer, which say where it came from; what the
gateway claims of an answer is compared with who gave it.
"""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import msgspec

from events.base import ORIGIN, DeploymentId, KeyId, Position, ReplicaId
from events.signals import Signal, WakeAsked
from gateway.addresses import Address, Target
from gateway.dataplane.call import Call
from gateway.dataplane.caller import Hold
from gateway.dataplane.gate import Admitted
from gateway.dataplane.heads import read_request
from gateway.dataplane.plane import DataPlane, DataPlaneSettings
from gateway.dataplane.rewrite import Provenance
from gateway.errors import Problem
from projections.access import ACCESS, Key
from projections.follow import Follower
from projections.routing import ROUTING
from projections.view import View
from tests.sim.checkers.base import Violation
from tests.sim.processes import Process
from tests.sim.wire import Answered

if TYPE_CHECKING:
    from tests.sim.network import Side
    from tests.sim.world import World

PARK_DEADLINE_S = 90.0
SETTINGS = DataPlaneSettings(park_deadline_s=PARK_DEADLINE_S, call_deadline_s=60.0)
ADMITTED = Admitted(Key(KeyId("k"), "caller", "", ("invoke",), ""), ())


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
        self.plane = plane = DataPlane(
            table,
            access,
            mouth,
            SETTINGS,
            worker=f"{self.name}.{self.lives}",
            stale_since=lambda: None,
            status_of=lambda deployment_id: None,
        )
        try:
            await follower.run()
        finally:
            mouth.shut, self.plane = True, None
            for caller in tuple(self.callers):
                caller.gateway_died()
            await plane.close()

    def call(self, record: CallRecord, seconds: float) -> None:
        if self.plane is None:
            self.world.call_ended(record, "broken", f"{self.name} is not up")
            return
        head = read_request(b"POST /predict HTTP/1.1\r\nhost: model\r\nx-seconds: %g\r\n\r\n" % seconds)
        caller = CallerEnd(self, record)
        self.callers[caller] = None
        address = Address(record.target, "predict", "/v1/models/model:predict")
        caller.call = Call(self.plane, caller, head, address, f"call-{record.number}", ADMITTED)
        caller.call.body_ended()
        caller.call.start()

    async def wake(self, deployment_id: DeploymentId) -> None:
        await self.signals.publish(WakeAsked(deployment_id=deployment_id, at=self.clock.now()))


class CallerEnd:
    """The connection that a call came on, and the caller behind it."""

    peer, scheme, slow, keeps_alive = "192.0.2.1", "http", False, True
    call: Call

    def __init__(self, gateway: GatewayProcess, record: CallRecord) -> None:
        self._gateway, self._record = gateway, record
        self._arrived = b""

    def write(self, out: bytes) -> None:
        self._arrived += out

    def respond(self, problem: Problem, provenance: Provenance) -> None:
        self._record.routed_at = Position(provenance.position)
        self._over("refused", f"{problem.status} {problem.reason}")

    def answered(self, *, keep_alive: bool) -> None:
        record, (head, _, body) = self._record, self._arrived.partition(b"\r\n\r\n")
        said = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
        truth = msgspec.json.decode(body, type=Answered)
        record.deployment_id, record.replica_id = truth.deployment_id, truth.replica_id
        record.routed_at = Position(int(said[b"x-causeway-position"]))
        claimed = (said[b"x-causeway-deployment"].decode(), said[b"x-causeway-replica"].decode())
        if claimed != (truth.deployment_id, truth.replica_id):
            self._gateway.world.fail(Violation(f"call {record.number}: {truth} answered, the gateway says {claimed}"))
        self._over("answered", "")

    def abort(self) -> None:
        self._over("broken", "its answer broke off")

    close = abort

    def gateway_died(self) -> None:
        self._over("broken", f"{self._gateway.name} died")
        self.call.caller_gone()

    def _over(self, ended: str, why: str) -> None:
        if self in self._gateway.callers:
            del self._gateway.callers[self]
            self._gateway.world.call_ended(self._record, ended, why)

    def splice(self) -> None:
        raise NotImplementedError("nobody asks for a websocket here")

    def hold(self, why: Hold) -> None:
        return None

    def go_on(self, why: Hold) -> None:
        return None


def in_flight(plane: DataPlane) -> Any:
    """What it has at replicas, by its own count."""
    return {each: count for each, count in plane.loads.in_flight.items() if count}
