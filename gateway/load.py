"""How busy this worker's deployments and replicas are, and telling so.

The autoscaler hears of a deployment at once when it gets busy or when a request is parked, then about every second
while it is busy, and once more when it is not. So do the other workers, whose shares count here, and who hear at
once of a slot that frees while they wait for one. Nothing here is kept for what is idle.
"""

import asyncio
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from events.base import DeploymentId, Position, ReplicaId
from events.signals import Load, Share, Signal, Signals
from gateway.circuit import Circuits
from gateway.parking import Parking
from gateway.shares import Shares

_log = structlog.get_logger()
SLOT_TOLD_AFTER_S = 0.002
"""Slots that free or are taken within this time are told together."""


@dataclass(slots=True)
class Busy:
    """One deployment's requests in this worker: on their way to or at a replica, and waiting for one."""

    in_flight: int = 0
    parked: int = 0
    told_parked: bool = False
    replicas: dict[ReplicaId, int] = field(default_factory=dict)
    peak: int = 0
    area: float = 0.0
    """Requests times seconds, since the last report: what is shorter than a tick counts by its length."""
    weighed_at: float = 0.0
    told_at: float = 0.0

    def weigh(self, now: float) -> None:
        """Before the counts change."""
        self.area += (self.in_flight + self.parked) * (now - self.weighed_at)
        self.weighed_at = now

    def told(self, now: float) -> tuple[float, int, float]:
        """Mean and peak since the last report, and how long that is ago; a new count begins."""
        self.weigh(now)
        span_s = now - self.told_at
        mean, peak = (self.area / span_s if span_s > 0 else 0.0), self.peak
        self.area, self.told_at, self.peak = 0.0, now, self.in_flight + self.parked
        return mean, peak, span_s


Changed = Callable[[DeploymentId, Busy], None]


class Loads:
    """The counts that `choose` reads. One owner (the data plane), one event loop, so no lock."""

    def __init__(self, changed: Changed, circuits: Circuits, parking: Parking, now: Callable[[], float]) -> None:
        self._now = now
        self._changed = changed
        """Told at once of a deployment that got busy or whose first request was parked."""
        self.in_flight: dict[ReplicaId, int] = {}
        """Of this worker and, as far as they told, of all others."""
        self.shares = Shares(self._shift)
        self.circuits = circuits
        self.avoided = circuits.avoided
        self.resting = circuits.resting
        self.waiting: Container[DeploymentId] = parking.lots
        self.waiting_elsewhere: Container[DeploymentId] = self.shares.waiting
        self.waiting_since = parking.waiting_since
        self.deployments: dict[DeploymentId, Busy] = {}
        self.turn = 0

    def sent(self, deployment_id: DeploymentId, replica_id: ReplicaId) -> None:
        """The deployment has been entered."""
        self.turn += 1
        self.in_flight[replica_id] = self.in_flight.get(replica_id, 0) + 1
        replicas = self.deployments[deployment_id].replicas
        replicas[replica_id] = replicas.get(replica_id, 0) + 1
        if replica_id in self.circuits.failing:
            self.circuits.sent(replica_id)

    def done(self, deployment_id: DeploymentId, replica_id: ReplicaId) -> None:
        """The deployment has not been left yet."""
        self._shift(replica_id, -1)
        replicas = self.deployments[deployment_id].replicas
        if replicas[replica_id] == 1:
            del replicas[replica_id]
        else:
            replicas[replica_id] -= 1
        if replica_id in self.circuits.failing:
            self.circuits.left(replica_id)

    def _shift(self, replica_id: ReplicaId, by: int) -> None:
        count = self.in_flight.get(replica_id, 0) + by
        if count:
            self.in_flight[replica_id] = count
        else:
            del self.in_flight[replica_id]

    def enter(self, deployment_id: DeploymentId, parked: bool) -> None:
        busy = self.deployments.get(deployment_id)
        fresh = busy is None
        now = self._now()
        if busy is None:
            busy = self.deployments[deployment_id] = Busy(weighed_at=now, told_at=now)
        if now != busy.weighed_at:
            busy.weigh(now)
        if parked:
            busy.parked += 1
        else:
            busy.in_flight += 1
        if busy.in_flight + busy.parked > busy.peak:
            busy.peak = busy.in_flight + busy.parked
        if fresh or (parked and not busy.told_parked):
            busy.told_parked = parked
            self._changed(deployment_id, busy)

    def leave(self, deployment_id: DeploymentId, parked: bool) -> None:
        """The entry stays, at zero, until it has been told."""
        busy, now = self.deployments[deployment_id], self._now()
        if now != busy.weighed_at:
            busy.weigh(now)
        if parked:
            busy.parked -= 1
        else:
            busy.in_flight -= 1

    def tell(self) -> list[tuple[DeploymentId, Busy]]:
        """What to report now; forgets what is idle after this report."""
        told = list(self.deployments.items())
        for deployment_id, busy in told:
            busy.told_parked = busy.parked > 0
            if not busy.in_flight and not busy.parked:
                del self.deployments[deployment_id]
        return told


class LoadReports:
    """Sends the counts as signals. One task while there is anything to say; it never delays a request."""

    def __init__(
        self,
        signals: Signals,
        worker: str,
        every_s: float,
        loads_of: Callable[[Changed], Loads],
        room: Callable[[DeploymentId], None],
        position: Callable[[], Position],
    ) -> None:
        self._signals = signals
        self._worker = worker
        self._every_s = every_s
        self._room = room
        """Told of deployments that may have more room, as other workers have less there."""
        self._position = position
        """Of the routes that the counts come from."""
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._tick: asyncio.TimerHandle | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self._soon: set[DeploymentId] = set()
        self._told: dict[DeploymentId, tuple[dict[ReplicaId, int], datetime | None]] = {}
        """What the other workers last heard."""
        self._reports = 0
        self.loads = loads_of(self._changed)
        self._listening = self._loop.create_task(self._listen())

    def send(self, signal: Signal) -> None:
        task = self._loop.create_task(self._signals.publish(signal))
        self._tasks.add(task)
        task.add_done_callback(self._sent)

    def stop(self) -> None:
        """Tells and hears nothing more."""
        for timer in (self._tick, self._sweep):
            if timer is not None:
                timer.cancel()
        self._tick = self._sweep = None
        self._listening.cancel()

    async def close(self) -> None:
        """Says of everything that this worker no longer serves it."""
        self.stop()
        await asyncio.wait([self._listening])
        for deployment_id in self.loads.deployments:
            self.send(self._signal(deployment_id, _idle(self._loop.time())))
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)

    def _changed(self, deployment_id: DeploymentId, busy: Busy) -> None:
        # Soon, not now: by then it is known at which replica.
        self._loop.call_soon(self._tell, deployment_id)
        if self._tick is None:
            self._tick = self._loop.call_later(self._every_s, self._report)

    def _report(self) -> None:
        for deployment_id, busy in self.loads.tell():
            self.send(self._signal(deployment_id, busy))
        more = len(self.loads.deployments) > 0
        self._tick = self._loop.call_later(self._every_s, self._report) if more else None

    def slot_freed(self, deployment_id: DeploymentId) -> None:
        """Or taken: tells the other workers soon, if one of them waits for it."""
        if deployment_id in self.loads.shares.waiting and deployment_id not in self._soon:
            self._soon.add(deployment_id)
            self._loop.call_later(SLOT_TOLD_AFTER_S, self._tell_slot, deployment_id)

    def _tell_slot(self, deployment_id: DeploymentId) -> None:
        self._soon.discard(deployment_id)
        busy = self.loads.deployments.get(deployment_id)
        now = (busy.replicas if busy is not None else {}, self.loads.waiting_since(deployment_id))
        if now != self._told.get(deployment_id, ({}, None)):
            self._tell(deployment_id)

    def _tell(self, deployment_id: DeploymentId) -> None:
        busy = self.loads.deployments.get(deployment_id)
        self.send(self._signal(deployment_id, busy if busy is not None else _idle(self._loop.time())))

    async def _listen(self) -> None:
        async for signal in self._signals.listen():
            if isinstance(signal, Load) and signal.worker != self._worker:
                if self.loads.shares.heard(signal, self._loop.time()):
                    self._room(signal.deployment_id)
                self.slot_freed(signal.deployment_id)
                if self._sweep is None:
                    self._sweep_later()

    def _sweep_later(self) -> None:
        next_at = self.loads.shares.next_expiry
        self._sweep = None if next_at is None else self._loop.call_at(next_at, self._expire)

    def _expire(self) -> None:
        for deployment_id in self.loads.shares.expire(self._loop.time()):
            self._room(deployment_id)
        self._sweep_later()

    def _signal(self, deployment_id: DeploymentId, busy: Busy) -> Load:
        self._reports += 1
        mean, peak, span_s = busy.told(self._loop.time())
        waiting_since = self.loads.waiting_since(deployment_id)
        if busy.replicas or waiting_since is not None:
            self._told[deployment_id] = (dict(busy.replicas), waiting_since)
        else:
            self._told.pop(deployment_id, None)
        return Load(
            worker=self._worker,
            number=self._reports,
            deployment_id=deployment_id,
            in_flight=busy.in_flight,
            parked=busy.parked,
            mean=mean,
            peak=peak,
            span_s=span_s,
            replicas=tuple(Share(replica_id, count) for replica_id, count in busy.replicas.items()),
            waiting_since=waiting_since,
            position=self._position(),
            at=datetime.now(UTC),
        )

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.warning("a load signal was not sent", error=repr(error))


def _idle(now: float) -> Busy:
    return Busy(weighed_at=now, told_at=now)
