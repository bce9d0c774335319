"""A simulated gateway worker: the real choice, the real parking lot and the real load reports, without bytes.

A call asks for an environment or a deployment; it is routed, or parked until the table changes; it runs for a while at
a scripted replica, and is sent again when the connection is refused or breaks, as the real gateway does.
"""

import asyncio
from typing import TYPE_CHECKING

import msgspec

from agents.effects.fake import Process as ReplicaProcess
from events.base import ORIGIN, DeploymentId, Position, ReplicaId
from events.signals import Signal, WakeAsked
from gateway.addresses import Target
from gateway.choose import Park, Route, Unroutable, choose
from gateway.errors import Problem
from gateway.load import LoadReports
from gateway.parking import Parking
from projections.follow import Follower
from projections.routing import ROUTING, RoutingTable
from projections.view import View
from tests.sim.processes import Down, Process

if TYPE_CHECKING:
    from tests.sim.network import Side
    from tests.sim.world import World

PARK_DEADLINE_S = 90.0
RETRY_S = 0.5
AVOID_S = 5.0


class CallRecord(msgspec.Struct):
    """What became of one call."""

    number: int
    target: Target
    ended: str = ""
    """answered, refused, gave up, broken (the gateway died); empty while it runs."""
    why: str = ""
    deployment_id: DeploymentId | None = None
    replica_id: ReplicaId | None = None
    routed_at: Position = ORIGIN
    parked_s: float = 0.0
    attempts: int = 0


class Mouth:
    """A dead process says nothing more, even where a timer of its outlives it."""

    def __init__(self, side: "Side") -> None:
        self.shut = False
        self._side = side

    async def publish(self, signal: Signal) -> None:
        if not self.shut:
            await self._side.publish(signal)

    def listen(self) -> "object":
        raise NotImplementedError("a gateway only tells")


class GatewayProcess(Process):
    desk: "Desk | None" = None

    async def life(self) -> None:
        table = View(ROUTING)
        self.views = (table,)
        follower = Follower(self.log, self.views, self.snapshots)
        await follower.catch_up()
        mouth = Mouth(self.signals)
        self.desk = Desk(self.world, table, LoadReports(mouth, f"{self.name}.{self.lives}", 1.0))  # type: ignore[arg-type]
        try:
            await follower.run()
        finally:
            mouth.shut = True
            self.desk = None

    async def call(self, record: CallRecord, seconds: float) -> None:
        if self.desk is None:
            record.ended = "broken"
            return
        try:
            await self.serve(self.desk.call(record, seconds))
        except Down:
            record.ended = "broken"

    async def wake(self, deployment_id: DeploymentId) -> None:
        await self.signals.publish(WakeAsked(deployment_id=deployment_id, at=self.clock.now()))


class Waiting:
    """A parked call's ear."""

    def __init__(self, desk: "Desk", deployment_id: DeploymentId) -> None:
        self.deployment_id = deployment_id
        self.go = asyncio.Event()
        self._desk = desk
        desk.loads.enter(deployment_id, parked=True)

    def unparked(self) -> None:
        self.go.set()

    def moved(self, deployment_id: DeploymentId) -> None:
        self._desk.loads.leave(self.deployment_id, parked=True)
        self._desk.loads.enter(deployment_id, parked=True)
        self.deployment_id = deployment_id

    def gone(self) -> None:
        self._desk.loads.leave(self.deployment_id, parked=True)


class Desk:
    """One life of a gateway."""

    def __init__(self, world: "World", table: View[RoutingTable], reports: LoadReports) -> None:
        self.loads = reports.loads
        self.parking = Parking(requests_max=1000, bytes_max=1 << 30)
        self._world = world
        self._table = table
        table.on_change(lambda: self.parking.release(self._choose))

    def _choose(self, target: Target) -> Route | Park | Unroutable:
        self.loads.trusted()
        return choose(self._table.state, target, self.loads)

    async def call(self, record: CallRecord, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        arrival, pause_s, retry_until = self.parking.arrival(), RETRY_S, loop.time() + PARK_DEADLINE_S
        while True:
            choice = self._choose(record.target)
            record.routed_at = self._table.position
            match choice:
                case Unroutable(problem=problem):
                    record.ended, record.why = "refused", f"{problem.status} {problem.reason}"
                    return
                case Park(deployment_id=deployment_id):
                    if not await self._park(record, arrival, deployment_id):
                        record.ended, record.why = "gave up", f"no replica of {deployment_id} in time"
                        return
                case Route():
                    if await self._send(record, choice, seconds):
                        return
                    if loop.time() > retry_until:
                        record.ended = "gave up"
                        return
                    await asyncio.sleep(pause_s)
                    pause_s *= 1.5

    async def _park(self, record: CallRecord, arrival: int, deployment_id: DeploymentId) -> bool:
        left_s, began = PARK_DEADLINE_S - record.parked_s, asyncio.get_running_loop().time()
        if left_s <= 0:
            return False
        waiting = Waiting(self, deployment_id)
        ticket = self.parking.park(arrival, record.target, waiting, deployment_id)
        assert not isinstance(ticket, Problem), "the lot is large enough"
        try:
            async with asyncio.timeout(left_s):
                await waiting.go.wait()
        except TimeoutError:
            return False
        finally:
            self.parking.leave(ticket)
            waiting.gone()
            record.parked_s += asyncio.get_running_loop().time() - began
        return True

    async def _send(self, record: CallRecord, route: Route, seconds: float) -> bool:
        replica_id, address = route.replica.replica_id, route.replica.address
        record.attempts += 1
        self.loads.enter(route.deployment_id, parked=False)
        self.loads.sent(replica_id)
        process: ReplicaProcess | None = None
        try:
            process = await self._world.reach(address, seconds)
        except ConnectionRefusedError:
            record.why = f"{address} refused"
        except ConnectionResetError as error:
            record.why = f"{address} broke: {error}"
        finally:
            self.loads.done(replica_id)
            self.loads.leave(route.deployment_id, parked=False)
        if process is None:
            self.loads.avoid(replica_id, AVOID_S)
            return False
        record.ended = "answered"
        record.deployment_id, record.replica_id = process.target.deployment_id, process.target.replica_id
        self._world.answers.answered(record)
        return True
