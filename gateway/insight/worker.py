"""What one worker knows of itself: it is told of every request that ends, and can be read at any time."""

import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from events.base import DeploymentId
from gateway.insight.access_log import AccessLog
from gateway.insight.tallies import Series, Tallies
from gateway.insight.trip import Trace, Trip, continued

if TYPE_CHECKING:
    from gateway.insight.answers import AnswersTold
    from gateway.insight.spans import Spans


class Moment(msgspec.Struct):
    """How things stand in one worker."""

    worker: str
    at: float
    """Unix time."""
    started_at: float
    draining: bool
    position: int
    stale_s: float
    """0 while the log is in reach."""
    connections: int
    idle_upstreams: int
    parked_bytes: int
    tasks: int
    resident_bytes: int
    descriptors: int
    counts: dict[str, int]
    deployments: dict[str, tuple[int, int, int]]
    """In flight, parked, WebSockets."""
    replicas: dict[str, int]
    """Ready ones, by deployment: as this worker routes."""
    names: dict[str, str]
    """Of models."""
    series: list[Series]


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


class Insight:
    def __init__(
        self, *, access_log: AccessLog | None = None, spans: "Spans | None" = None, trace_sample: float = 0.0
    ) -> None:
        """`trace_sample`: the share of requests without a trace for which one begins here."""
        self.tallies = Tallies()
        self.websockets: dict[DeploymentId, int] = {}
        self.started_at = time.time()
        self._access_log, self._spans = access_log, spans
        self._trace_sample = trace_sample
        self._answers: AnswersTold | None = None
        self.traces = spans is not None or trace_sample > 0
        """False: `trace` need not be asked."""
        self._tell: tuple[Callable[[Trip], None], ...] = tuple(
            each.add for each in (self.tallies, access_log, spans) if each is not None
        )

    def also(self, answers: "AnswersTold") -> None:
        """Told of every request that ends and of every attempt that failed, from now on."""
        self._tell = (*self._tell, answers.add)
        self._answers = answers

    def failed(self, deployment_id: DeploymentId) -> None:
        """An attempt at one of its replicas; the request may yet be answered by another."""
        if self._answers is not None:
            self._answers.failed(deployment_id)

    def trace(self, traceparent: bytes | None) -> Trace | None:
        """None: what the caller sent, if anything, is passed on as it is."""
        if traceparent is not None and self._spans is None:
            return None
        return continued(traceparent, begin=self._trace_sample > 0 and random.random() < self._trace_sample)

    def ended(self, trip: Trip) -> None:
        for tell in self._tell:
            tell(trip)

    def switched(self, deployment_id: DeploymentId, change: int) -> None:
        """A WebSocket opened (1) or ended (-1)."""
        left = self.websockets.get(deployment_id, 0) + change
        if left:
            self.websockets[deployment_id] = left
        else:
            self.websockets.pop(deployment_id, None)

    @property
    def lost(self) -> dict[str, int]:
        """Records that found no room or no place."""
        return {
            "access_log": 0 if self._access_log is None else self._access_log.lost,
            "spans": 0 if self._spans is None else self._spans.lost,
        }

    async def close(self) -> None:
        if self._access_log is not None:
            await self._access_log.close()
        if self._spans is not None:
            await self._spans.close()
