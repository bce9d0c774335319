"""The access log: a sample of requests, and every one that failed on our side, as JSON lines.

A request adds one record to a list; a timer writes the list in a thread. A disk that is slow or full costs lines,
which are counted, and never time.
"""

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec

from events.base import ORIGIN, Position
from gateway.insight.trip import Trip

LINES_MAX = 10_000
EVERY_S = 1.0


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    at: datetime
    """When the request came."""
    request_id: str
    method: str
    model_id: str
    target: str
    verb: str
    status: int
    seconds: float
    deployment_id: str | None = None
    replica_id: str | None = None
    first_byte_s: float | None = None
    parked_s: float = 0.0
    attempts: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0
    complete: bool = True
    trace_id: str | None = None
    position: Position = ORIGIN
    """Of the log, at which it was routed."""


class AccessLog:
    def __init__(self, sample: float, write: Callable[[bytes], None]) -> None:
        """`sample`: the share of requests, 0 to 1. `write` may block."""
        self._sample, self._write = sample, write
        self._trips: list[Trip] = []
        self._writing: asyncio.Future[None] | None = None
        self._tick: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self.lost = 0

    def add(self, trip: Trip) -> None:
        if trip.status < 500 and random.random() >= self._sample:
            return
        if len(self._trips) >= LINES_MAX:
            self.lost += 1
            return
        self._trips.append(trip)
        if self._tick is None:
            self._tick = self._loop.call_later(EVERY_S, self._flush)

    async def close(self) -> None:
        if self._tick is not None:
            self._tick.cancel()
        if self._writing is not None:
            await self._writing
        if self._trips:
            await asyncio.to_thread(self._put, self._trips, self._loop.time(), datetime.now(UTC))

    def _flush(self) -> None:
        self._tick = None
        if self._writing is not None and not self._writing.done():
            self._tick = self._loop.call_later(EVERY_S, self._flush)
            return
        trips, self._trips = self._trips, []
        self._writing = self._loop.run_in_executor(None, self._put, trips, self._loop.time(), datetime.now(UTC))

    def _put(self, trips: list[Trip], loop_now: float, now: datetime) -> None:
        try:
            self._write(b"".join(msgspec.json.encode(_line(trip, loop_now, now)) + b"\n" for trip in trips))
        except OSError:
            self.lost += len(trips)


def _line(trip: Trip, loop_now: float, now: datetime) -> Line:
    return Line(
        at=now - timedelta(seconds=loop_now - trip.began),
        request_id=trip.request_id,
        method=trip.method,
        model_id=trip.target.model_id,
        target=str(trip.target),
        verb=trip.verb,
        status=trip.status,
        seconds=round(trip.ended - trip.began, 6),
        deployment_id=trip.deployment_id,
        replica_id=trip.replica_id,
        first_byte_s=None if trip.first_byte is None else round(trip.first_byte - trip.began, 6),
        parked_s=round(trip.parked_s, 6),
        attempts=trip.attempts,
        received_bytes=trip.received_bytes,
        sent_bytes=trip.sent_bytes,
        complete=trip.complete,
        trace_id=None if trip.trace is None else trip.trace.trace_id,
        position=trip.position,
    )
