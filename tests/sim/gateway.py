"""A simulated gateway worker: the real choice, the real parking lot and the real load reports, without bytes.

A call asks for an environment or a deployment; it is routed, or parked until the table changes; it runs for a while at
a scripted replica, and is sent again when the connection is refused or breaks, as the real gateway does.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import msgspec

from agents.effects.fake import Process as ReplicaProcess
from events.base import ORIGIN, DeploymentId, Position, ReplicaId
from events.signals import Signal, WakeAsked
from gateway.addresses import Target
from gateway.choose import Park, Route, Unroutable, choose
from gateway.circuit import Circuits, CircuitSettings
from gateway.errors import Problem
from gateway.load import LoadReports, Loads
from gateway.parking import Parking, Rank, Ticket
from projections.follow import Follower
from projections.routing import ROUTING, RoutingTable
from projections.view import View
from tests.sim.processes import Down, Process

if TYPE_CHECKING:
    from tests.sim.network import Side
    from tests.sim.world import World

PARK_DEADLINE_S = 90.0
RETRY_S = 0.5
Choice = Route | Park | Unroutable


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

    def listen(self) -> AsyncIterator[Signal]:
        return self._side.listen()


class GatewayProcess(Process):
    desk: "Desk | None" = None

    async def life(self) -> None:
        table = View(ROUTING)
        self.views = (table,)
        follower = Follower(self.log, self.views, self.snapshots)
        await follower.catch_up()
        mouth = Mouth(self.signals)
        self.desk = desk = Desk(self.world, table, mouth, f"{self.name}.{self.lives}")
        try:
            await follower.run()
        finally:
            mouth.shut = True
            self.desk = None
            await desk.reports.close()

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

    def __init__(self, desk: "Desk", record: CallRecord, rank: Rank, deployment_id: DeploymentId) -> None:
        self.deployment_id = deployment_id
        self.go: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.choice: Choice | None = None
        """Made the moment its turn came."""
        self._desk, self._record = desk, record
        ticket = desk.parking.park(rank, record.target, self, deployment_id)
        assert not isinstance(ticket, Problem), "the lot is large enough"
        self._ticket: Ticket | None = ticket
        desk.loads.enter(deployment_id, parked=True)

    def unparked(self) -> None:
        self.leave()
        self.choice = self._desk.choose(self._record, turn_has_come=True)
        if isinstance(self.choice, Route):
            self._desk.take(self.choice)
        self.go.set_result(None)

    def moved(self, deployment_id: DeploymentId) -> None:
        self._desk.loads.leave(self.deployment_id, parked=True)
        self._desk.loads.enter(deployment_id, parked=True)
        self.deployment_id = deployment_id

    def leave(self) -> None:
        if self._ticket is not None:
            self._desk.parking.leave(self._ticket)
            self._desk.loads.leave(self.deployment_id, parked=True)
            self._ticket = None


class Desk:
    """One life of a gateway."""

    def __init__(self, world: "World", table: View[RoutingTable], mouth: Mouth, worker: str) -> None:
        self._loop = asyncio.get_running_loop()
        self.parking = Parking(requests_max=1000, bytes_max=1 << 30)
        self._circuits = Circuits(CircuitSettings())
        self.reports = LoadReports(
            mouth, worker, 1.0, lambda told: Loads(told, self._circuits, self.parking, self._loop.time), self._room
        )
        self.loads = self.reports.loads
        self._world = world
        self._table = table
        table.on_change(lambda: self.parking.release(self._fits))

    def _fits(self, target: Target) -> Choice:
        self._circuits.refresh(self._loop.time())
        return choose(self._table.state, target, self.loads, turn_has_come=True)

    def _room(self, deployment_id: DeploymentId) -> None:
        self.parking.freed(deployment_id, self._fits)

    def choose(self, record: CallRecord, *, turn_has_come: bool = False) -> Choice:
        self._circuits.refresh(self._loop.time())
        record.routed_at = self._table.position
        return choose(self._table.state, record.target, self.loads, turn_has_come=turn_has_come)

    def take(self, route: Route) -> None:
        """A slot at the replica; `give_back` ends it."""
        self.loads.enter(route.deployment_id, parked=False)
        self.loads.sent(route.deployment_id, route.replica.replica_id)

    def give_back(self, route: Route) -> None:
        self.loads.done(route.deployment_id, route.replica.replica_id)
        self.loads.leave(route.deployment_id, parked=False)
        self._loop.call_soon(self._room, route.deployment_id)
        self.reports.slot_freed(route.deployment_id)

    async def call(self, record: CallRecord, seconds: float) -> None:
        rank, pause_s, retry_until = (False, self.parking.arrival()), RETRY_S, self._loop.time() + PARK_DEADLINE_S
        choice = self.choose(record)
        if isinstance(choice, Route):
            self.take(choice)
        while True:
            match choice:
                case Unroutable(problem=problem):
                    record.ended, record.why = "refused", f"{problem.status} {problem.reason}"
                    return
                case Park(deployment_id=deployment_id):
                    parked = await self._park(record, rank, deployment_id)
                    if parked is None:
                        record.ended, record.why = "gave up", f"no replica of {deployment_id} in time"
                        return
                    choice = parked
                    continue
                case Route():
                    if await self._send(record, choice, seconds):
                        return
                    if self._loop.time() > retry_until:
                        record.ended = "gave up"
                        return
                    await asyncio.sleep(pause_s)
                    pause_s *= 1.5
            choice = self.choose(record)
            if isinstance(choice, Route):
                self.take(choice)

    async def _park(self, record: CallRecord, rank: Rank, deployment_id: DeploymentId) -> Choice | None:
        left_s, began = PARK_DEADLINE_S - record.parked_s, self._loop.time()
        if left_s <= 0:
            return None
        waiting = Waiting(self, record, rank, deployment_id)
        try:
            async with asyncio.timeout(left_s):
                await waiting.go
        except TimeoutError:
            pass  # Its turn may have come in the same moment.
        finally:
            waiting.leave()
            record.parked_s += self._loop.time() - began
        return waiting.choice

    async def _send(self, record: CallRecord, route: Route, seconds: float) -> bool:
        replica_id, address = route.replica.replica_id, route.replica.address
        record.attempts += 1
        process: ReplicaProcess | None = None
        try:
            process = await self._world.reach(address, seconds)
        except ConnectionRefusedError:
            record.why = f"{address} refused"
        except ConnectionResetError as error:
            record.why = f"{address} broke: {error}"
        finally:
            self.give_back(route)
        if process is None:
            rest_s = self._circuits.failed(replica_id, self._loop.time())
            if rest_s is not None:
                self._loop.call_later(rest_s, self._room, route.deployment_id)
            return False
        self.loads.circuits.answered(replica_id)
        record.ended = "answered"
        record.deployment_id, record.replica_id = process.target.deployment_id, process.target.replica_id
        self._world.answers.answered(record)
        return True
