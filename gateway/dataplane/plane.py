"""The data plane of one worker process: its views, counts, parking lot and connections, and the way in.

It reads two views in memory and nothing else: with the log away it serves on with what it knows and says how old
that is. Make it inside the running loop, hand `http_protocol(plane)` to uvicorn as `http=`, end it with `close`.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from secrets import token_hex

import msgspec

from events.base import DeploymentId, Position
from events.signals import Signals, WakeAsked
from gateway.addresses import Target
from gateway.choose import Aim, Park, Route, Unroutable, aim_of, choose_of
from gateway.circuit import Circuits
from gateway.dataplane.clock import Clock
from gateway.dataplane.gate import Gate
from gateway.dataplane.pool import Pool
from gateway.dataplane.rewrite import Provenance
from gateway.dataplane.search import Search
from gateway.dataplane.settings import DataPlaneSettings
from gateway.errors import Problem
from gateway.insight.worker import Insight, Moment, descriptors, resident_bytes
from gateway.load import LoadReports, Loads
from gateway.parking import Parking
from gateway.resolve import resolve
from projections.access import Access
from projections.routing import RoutingTable
from projections.view import View

_OURS, _numbers = token_hex(10), count(10**11)
"""Request ids of this process: unlike any other's, and no call to the kernel for each."""
_AIMS_MAX = 4096


class Counts(msgspec.Struct):
    """Since the start of this worker."""

    requests: int = 0
    answered: int = 0
    """By a replica, to the end."""
    refused: int = 0
    """By the gateway."""
    parked: int = 0
    retried: int = 0
    left: int = 0
    """Callers that went away before their answer was complete."""
    cut: int = 0
    """Answers that broke after they had begun."""


class DataPlane:
    def __init__(
        self,
        routing: View[RoutingTable],
        access: View[Access],
        signals: Signals,
        settings: DataPlaneSettings,
        *,
        worker: str,
        stale_since: Callable[[], float | None],
        status_of: Callable[[DeploymentId], str | None],
        insight: Insight | None = None,
    ) -> None:
        self.insight = insight or Insight()
        self.connections = 0
        """Of callers."""
        self._worker = worker
        self.settings = settings
        self.loop = asyncio.get_running_loop()
        self.now = self.loop.time
        self.clock = Clock(self.loop)
        self.counts = Counts()
        self.parking = Parking(settings.parked_requests_max, settings.parked_bytes_max)
        self.pool = Pool(connect_timeout_s=settings.connect_timeout_s, idle_s=settings.upstream_idle_s)
        self.resting: dict[Search, None] = {}
        """In the order in which they began to rest."""
        self.draining = False
        """Another process serves this port now: each connection is told to close with its next answer.

        None is closed before: its caller may just be sending.
        """
        self._circuits = Circuits(settings.circuit)
        self._reports = LoadReports(
            signals,
            worker,
            settings.load_every_s,
            lambda changed: Loads(changed, self._circuits, self.parking, self.loop.time),
            self._room,
            lambda: routing.position,
        )
        self.loads = self._reports.loads
        self._yielding: set[DeploymentId] = set()
        self.gate = Gate(
            routing,
            access,
            domain=settings.domain,
            hosts=settings.hosts,
            rate_limit=settings.rate_limit,
            limits=settings.limits,
            now=self.loop.time,
        )
        self.routing = routing
        self._aims: dict[Target, Aim | Park | Unroutable] = {}
        """Of the table as it is."""
        self._stale_since, self._status_of = stale_since, status_of
        routing.on_change(self._table_changed)

    @property
    def position(self) -> Position:
        return self.routing.position

    def stale_s(self) -> float | None:
        """For how long the log has been out of reach; None while the table is live."""
        since = self._stale_since()
        return None if since is None else max(0.0, time.monotonic() - since)

    def choose(
        self, target: Target, affinity: bytes | None = None, turn_has_come: bool = False
    ) -> Route | Park | Unroutable:
        if self.loads.avoided or self.loads.resting:
            self._circuits.refresh(self.loop.time())
        aim = self._aims.get(target)
        if aim is None:
            if len(self._aims) >= _AIMS_MAX:
                self._aims.clear()
            aim = self._aims[target] = aim_of(self.routing.state, target)
        return choose_of(aim, self.loads, affinity, turn_has_come)

    def done(self, route: Route) -> None:
        """A slot is free. Told to who waits once the call that had it has let go of all else."""
        deployment_id = route.deployment_id
        self.loads.done(deployment_id, route.replica.replica_id)
        if deployment_id in self.loads.waiting:
            self.loop.call_soon(self._room, deployment_id)
        if deployment_id in self.loads.waiting_elsewhere:
            self._reports.slot_freed(deployment_id)

    def answered(self, route: Route) -> None:
        """It is no failure, whatever it says."""
        if route.replica.replica_id in self._circuits.failing:
            self._circuits.answered(route.replica.replica_id)

    def failed(self, route: Route) -> None:
        self.insight.failed(route.deployment_id)
        rest_s = self._circuits.failed(route.replica.replica_id, self.loop.time())
        if rest_s is not None:
            self.loop.call_later(rest_s, self._room, route.deployment_id)

    def wake(self, target: Target) -> DeploymentId | Problem:
        """Asks for a replica without waiting for it."""
        deployment = resolve(self.routing.state, target)
        if isinstance(deployment, Problem):
            return deployment
        self._reports.send(WakeAsked(deployment_id=deployment.deployment_id, at=datetime.now(UTC)))
        return deployment.deployment_id

    def not_ready(self, deployment_id: DeploymentId, waited_s: float) -> Problem:
        routes = self.routing.state.deployments.get(deployment_id)
        if routes is not None and routes.replicas:
            reason = (
                f"all {len(routes.replicas)} replicas of deployment {deployment_id} were busy for "
                f"{waited_s:g} s, with {routes.predict_concurrency} requests each: "
                "raise max_replica, or predict_concurrency if the model can do more at a time"
            )
            return Problem(504, "timeout", reason, headers=(("retry-after", "10"),))
        status = self._status_of(deployment_id)
        reason = (
            f"no replica of deployment {deployment_id} was ready within {waited_s:g} s"
            f"{f'; its status: {status}' if status else ''}; see its logs, or raise min_replica to keep one warm"
        )
        return Problem(503, "model_not_ready", reason, headers=(("retry-after", "10"),))

    def provenance(
        self,
        request_id: str,
        deployment_id: DeploymentId | None = None,
        limits: tuple[tuple[str, str], ...] = (),
    ) -> Provenance:
        """Of an answer that no replica had a part in."""
        return Provenance(request_id, deployment_id, None, self.position, 0, 0, None, self.stale_s(), limits)

    def moment(self) -> Moment:
        """How things stand, for metrics."""
        table, counts = self.routing.state, msgspec.structs.asdict(self.counts)
        self.insight.tallies.keep(table.deployments)
        return Moment(
            worker=self._worker,
            at=time.time(),
            started_at=self.insight.started_at,
            draining=self.draining,
            position=self.position,
            stale_s=self.stale_s() or 0.0,
            connections=self.connections,
            idle_upstreams=self.pool.idle,
            parked_bytes=self.parking.bytes,
            tasks=len(asyncio.all_tasks(self.loop)),
            resident_bytes=resident_bytes(),
            descriptors=descriptors(),
            counts=counts | {f"lost_{of}": lost for of, lost in self.insight.lost.items()},
            deployments={
                each: (busy.in_flight, busy.parked, self.insight.websockets.get(each, 0))
                for each, busy in self.loads.deployments.items()
            },
            replicas={each: len(routes.replicas) for each, routes in table.deployments.items()},
            names={each: model.name for each, model in table.models.items()},
            series=list(self.insight.tallies.series.values()),
        )

    async def close(self) -> None:
        self.clock.close()
        await self._reports.close()
        await self.pool.close()

    def parked(self, deployment_id: DeploymentId) -> None:
        """A request waits, maybe only for others that came before it to another worker."""
        if deployment_id in self.loads.shares.waiting:
            self.loop.call_soon(self._room, deployment_id)

    def _room(self, deployment_id: DeploymentId) -> None:
        """There may be room where there was none: for who has waited longest, here or in another worker."""
        first, elsewhere = self.parking.waiting_since(deployment_id), self.loads.shares.waiting.get(deployment_id)
        if first is None:
            return
        if elsewhere is None or first <= elsewhere:
            self._admit(deployment_id)
        elif deployment_id not in self._yielding:
            self._yielding.add(deployment_id)
            self._reports.slot_freed(deployment_id)
            self.loop.call_later(self.settings.yield_s, self._yield_over, deployment_id)

    def _yield_over(self, deployment_id: DeploymentId) -> None:
        self._yielding.discard(deployment_id)
        self._admit(deployment_id)

    def _admit(self, deployment_id: DeploymentId) -> None:
        self.parking.freed(deployment_id, self._choose_for_first)
        self._reports.slot_freed(deployment_id)

    def _choose_for_first(self, target: Target) -> Route | Park | Unroutable:
        return self.choose(target, turn_has_come=True)

    def _table_changed(self) -> None:
        table = self.routing.state
        self._aims.clear()
        live = {replica for deployment in table.deployments.values() for replica in deployment.replicas.values()}
        self.pool.keep(live)
        self._circuits.keep({each.replica_id for each in live})
        self.parking.follow(self._choose_for_first)
        for deployment_id in list(self.parking.lots):
            self._room(deployment_id)
        for call in tuple(self.resting):
            call.reconsider()


def new_request_id() -> str:
    return f"{_OURS}{next(_numbers)}"
