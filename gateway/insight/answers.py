"""Tells what the answers of a candidate and of the current deployment are like, while a promotion is judged by them.

At all other times a request costs one look into an empty set, and nothing is sent.
"""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec
import structlog

from events.base import DeploymentId
from events.signals import Answers, Signals
from events.signals.answers import Durations, place_of
from gateway.insight.trip import CLIENT_CLOSED, Trip
from projections.routing import RoutingTable
from projections.view import View

_log = structlog.get_logger()
EVERY_S = 2.0
_SWITCHED = 101


class Tally(msgspec.Struct):
    requests: int = 0
    errors: int = 0
    durations: dict[int, int] = {}
    """Count by place."""


def compared(table: RoutingTable) -> Iterator[DeploymentId]:
    """The deployments whose answers are asked for now."""
    for model in table.models.values():
        for environment, candidate in model.candidates.items():
            current = model.environments.get(environment)
            if candidate.compared and candidate.percent and current is not None:
                yield from (candidate.deployment_id, current)


class AnswersTold:
    """One a worker. `close` ends it."""

    def __init__(self, routing: View[RoutingTable], signals: Signals, worker: str, every_s: float = EVERY_S) -> None:
        self._routing, self._signals, self._worker, self._every_s = routing, signals, worker, every_s
        self._tallies: dict[DeploymentId, Tally] = {}
        self._reports = 0
        self._tick: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        routing.on_change(self._table_changed)
        self._table_changed()

    def add(self, trip: Trip) -> None:
        tally = self._tallies.get(trip.deployment_id) if self._tallies and trip.deployment_id is not None else None
        if tally is None or trip.status in (CLIENT_CLOSED, _SWITCHED):
            return
        tally.requests += 1
        tally.errors += trip.status >= 500
        place = place_of(trip.ended - trip.began - trip.parked_s)
        tally.durations[place] = tally.durations.get(place, 0) + 1

    def failed(self, deployment_id: DeploymentId) -> None:
        """An attempt that was perhaps made good elsewhere: to the caller nothing, to a comparison an error."""
        tally = self._tallies.get(deployment_id)
        if tally is not None:
            tally.requests += 1
            tally.errors += 1

    async def close(self) -> None:
        self._tallies = {}
        if self._tick is not None:
            self._tick.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)

    def _table_changed(self) -> None:
        self._tallies = {each: self._tallies.get(each) or Tally() for each in compared(self._routing.state)}
        if self._tallies and self._tick is None:
            self._tick = self._loop.call_later(self._every_s, self._tell)

    def _tell(self) -> None:
        for deployment_id, tally in self._tallies.items():
            if tally.requests:
                self._reports += 1
                self._send(self._signal(deployment_id, tally))
                self._tallies[deployment_id] = Tally()
        self._tick = self._loop.call_later(self._every_s, self._tell) if self._tallies else None

    def _signal(self, deployment_id: DeploymentId, tally: Tally) -> Answers:
        return Answers(
            worker=self._worker,
            number=self._reports,
            deployment_id=deployment_id,
            requests=tally.requests,
            errors=tally.errors,
            durations=tuple(Durations(place, count) for place, count in tally.durations.items()),
            at=datetime.now(UTC),
        )

    def _send(self, signal: Answers) -> None:
        task = self._loop.create_task(self._signals.publish(signal))
        self._tasks.add(task)
        task.add_done_callback(self._sent)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.warning("a signal about answers was not sent", error=repr(error))
