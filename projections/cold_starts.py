"""How long replicas take to start, stage by stage: from the decision that called for one until it may take requests.

Only the newest KEPT of a deployment are kept. A start that failed is counted and has no durations; one that was stopped
on purpose (scaled down again, replaced) is none.
"""

from collections.abc import Mapping
from datetime import datetime
from math import ceil

import msgspec

from events.base import DeploymentId, EventId, Position, ReplicaId
from events.codec import Recorded
from events.replica import (
    ReplicaAssigned,
    ReplicaEnvironmentReady,
    ReplicaFailed,
    ReplicaLost,
    ReplicaProcessStarted,
    ReplicaReady,
    ReplicaStopped,
    ReplicaWeightsReady,
)
from events.scaling import ReplicaTargetRaised
from projections.base import Projection

KEPT = 200
STAGES = ("assigned", "environment ready", "weights ready", "process started", "model loaded")
"""Each lasts from the end of the one before it to the event that it is named for; the first from the decision.

Weights are fetched while the environment is made: their stage is what is waited for them after that.
"""


class Start(msgspec.Struct):
    replica_id: ReplicaId
    position: Position
    """Of its assignment."""
    moments: list[datetime | None]
    """The decision, then the end of each stage; the first is None where a failure called for the replica."""
    reused: bool = False
    """Its environment was on the node already."""
    failed: str = ""

    @property
    def done(self) -> bool:
        return len(self.moments) == len(STAGES) + 1

    def seconds(self) -> tuple[float | None, ...]:
        pairs = zip(self.moments, self.moments[1:], strict=False)
        return tuple(None if a is None or b is None else (b - a).total_seconds() for a, b in pairs)


class ColdStarts(msgspec.Struct):
    raised: dict[DeploymentId, tuple[EventId, datetime]] = {}
    """The last raise of each deployment."""
    open: dict[ReplicaId, DeploymentId] = {}
    starts: dict[DeploymentId, dict[ReplicaId, Start]] = {}
    """In the order of their assignments."""


def evolve(state: ColdStarts, recorded: Recorded) -> ColdStarts:
    at = recorded.meta.at
    match recorded.event:
        case ReplicaTargetRaised() as event:
            state.raised[event.deployment_id] = (recorded.meta.id, at)
        case ReplicaAssigned() as event:
            cause, asked_at = state.raised.get(event.deployment_id, (None, None))
            decided_at = asked_at if recorded.meta.causation_id == cause else None
            state.open[event.replica_id] = event.deployment_id
            starts = state.starts.setdefault(event.deployment_id, {})
            starts[event.replica_id] = Start(event.replica_id, recorded.position, [decided_at, at])
            if len(starts) > KEPT:
                del starts[next(iter(starts))]
        case ReplicaEnvironmentReady() as event:
            _reached(state, event.replica_id, at, 2, reused=event.reused)
        case ReplicaWeightsReady() as event:
            _reached(state, event.replica_id, at, 3)
        case ReplicaProcessStarted() as event:
            _without_weights(state, event.replica_id)
            _reached(state, event.replica_id, at, 4)
        case ReplicaReady() as event:
            _reached(state, event.replica_id, at, 5)
            state.open.pop(event.replica_id, None)
        case ReplicaFailed() as event:
            _failed(state, event.replica_id, f"{event.stage}: {event.reason}")
        case ReplicaLost() as event:
            _failed(state, event.replica_id, event.reason)
        case ReplicaStopped() as event:
            if event.replica_id in state.open:
                state.starts[state.open.pop(event.replica_id)].pop(event.replica_id, None)
    return state


def _open(state: ColdStarts, replica_id: ReplicaId) -> Start | None:
    return state.starts.get(state.open[replica_id], {}).get(replica_id) if replica_id in state.open else None


def _reached(state: ColdStarts, replica_id: ReplicaId, at: datetime, count: int, reused: bool = False) -> None:
    start = _open(state, replica_id)
    if start is not None and len(start.moments) == count:
        start.moments.append(at)
        start.reused = start.reused or reused


def _without_weights(state: ColdStarts, replica_id: ReplicaId) -> None:
    """It had none to wait for."""
    start = _open(state, replica_id)
    if start is not None and len(start.moments) == 3:
        start.moments.append(start.moments[-1])


def _failed(state: ColdStarts, replica_id: ReplicaId, reason: str) -> None:
    start = _open(state, replica_id)
    state.open.pop(replica_id, None)
    if start is not None:
        start.failed = reason


COLD_STARTS: Projection[ColdStarts] = Projection("cold starts", 4, ColdStarts, ColdStarts, evolve)


class Stage(msgspec.Struct, frozen=True):
    name: str
    p50_s: float
    p95_s: float
    share: float
    """Of the whole, at p50."""
    slowest: bool


class Anatomy(msgspec.Struct, frozen=True):
    starts: int
    failed: int
    reused: int
    stages: tuple[Stage, ...]
    p50_s: float
    """Of whole starts, from the assignment on."""
    p95_s: float
    last_failure: str = ""


def anatomy(starts: Mapping[ReplicaId, Start], newest: int) -> Anatomy:
    chosen = tuple(starts.values())[-newest:]
    done = [each for each in chosen if each.done]
    failures = [each.failed for each in chosen if each.failed]
    columns = [[each.seconds()[index] for each in done] for index in range(len(STAGES))]
    known = [[seconds for seconds in column if seconds is not None] for column in columns]
    typical = [_quantile(column, 0.5) for column in known]
    whole = [sum(seconds for seconds in each.seconds()[1:] if seconds is not None) for each in done]
    stages = tuple(
        Stage(
            name,
            typical[index],
            _quantile(known[index], 0.95),
            typical[index] / sum(typical) if sum(typical) else 0.0,
            bool(done) and typical[index] == max(typical),
        )
        for index, name in enumerate(STAGES)
    )
    reused = sum(1 for each in done if each.reused)
    last = failures[-1] if failures else ""
    return Anatomy(len(done), len(failures), reused, stages, _quantile(whole, 0.5), _quantile(whole, 0.95), last)


def _quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[max(0, ceil(len(ordered) * share) - 1)] if ordered else 0.0
