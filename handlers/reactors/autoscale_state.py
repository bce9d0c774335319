"""What the autoscaler knows, folded from the log and from what it hears: a deployment's target, settings and load.

A rolling promotion makes one pool of two deployments: the current one is measured by the load of both, and the
candidate's target is the promotion's alone. Otherwise what a step has taken away would come back at once, by load that
the windows still hold and that the candidate has by then.
"""

from datetime import datetime

import msgspec

from events.base import ORIGIN, DeploymentId, Position, PromotionId
from events.build import BuildSucceeded
from events.codec import Recorded
from events.environment import (
    EnvironmentDeleted,
    PromotionCancelled,
    PromotionCompleted,
    PromotionFailed,
    PromotionRolledBack,
    PromotionStarted,
    PromotionStepped,
)
from events.model import (
    DeploymentActivated,
    DeploymentDeactivated,
    DeploymentDeleted,
    DeploymentFailed,
    DeploymentPushed,
)
from events.replica import ReplicaReady
from events.scaling import (
    AutoscalingSettings,
    MinimumScheduled,
    ReplicaHoldReleased,
    ReplicasHeld,
    ReplicaTargetLowered,
    ReplicaTargetRaised,
    ScaledToZero,
    ScalingConfigured,
)
from events.signals import Load, Resumed, Signal, WakeAsked
from handlers.load_window import LoadWindow

LONG_AGO = float("-inf")


class Scale(msgspec.Struct):
    """One deployment. Times are seconds since the epoch."""

    deployment_id: DeploymentId
    settings: AutoscalingSettings = AutoscalingSettings()
    settings_position: Position = ORIGIN
    position: Position = ORIGIN
    """Of the last event about its target: commands derive from it, so one situation makes one command."""
    target: int = 0
    zero_position: Position = ORIGIN
    """Of the event that last took it to zero."""
    resting: bool = False
    """At zero because it was quiet."""
    able: bool = False
    """Built and neither failed nor deactivated."""
    built: bool = False
    holds: dict[PromotionId, int] = {}
    serving: bool = True
    """A replica has been ready since the target left zero."""
    scheduled: MinimumScheduled | None = None
    known_from: float = LONG_AGO
    """Its load is known from here on, or since this process hears, whichever is later; unless it is younger."""
    born_at: float = LONG_AGO
    """Pushed, or brought up from zero: there was no load before that anybody could have missed."""
    changed_at: float = LONG_AGO
    """It got a new target."""
    ready_at: float = LONG_AGO
    below_since: float | None = None
    load: LoadWindow = msgspec.field(default_factory=LoadWindow)
    wake: bool = False
    candidate: DeploymentId | None = None
    """Of a rolling promotion in which this one is the current deployment."""
    other_side: int = 0
    """Replicas of that candidate which take part of the load of both."""
    current: DeploymentId | None = None
    """Of a rolling promotion in which this one is the candidate."""
    timer: float | None = None
    """The earliest time at which it is looked at without anything happening."""

    @property
    def held(self) -> int:
        return max(self.holds.values(), default=0)


class Pool(msgspec.Struct):
    """A rolling promotion that is active."""

    started: PromotionStarted
    current: DeploymentId
    back: bool = False
    """On the way back."""

    def counted(self, step: PromotionStepped) -> int:
        """Replicas of the candidate: those that have traffic, or where the current one gives first, those to come."""
        gives_first = self.started.settings.max_unavailable_percent > 0
        return step.candidate_replicas if gives_first or self.back else step.ready


class AutoscaleState(msgspec.Struct):
    since: float
    """Silence before this moment says nothing."""
    latest: float
    scales: dict[DeploymentId, Scale] = {}
    fresh: dict[DeploymentId, None] = {}
    """Changed since they were last looked at."""
    pools: dict[PromotionId, Pool] = {}
    timers: list[tuple[float, DeploymentId]] = []
    """A heap. An entry that is not its deployment's `timer` is stale."""

    def touch(self, scale: Scale) -> None:
        """It is to be looked at, and who is measured by its load too."""
        self.fresh[scale.deployment_id] = None
        if scale.current in self.scales:
            self.fresh[scale.current] = None


# What was recorded


def evolve(state: AutoscaleState, recorded: Recorded) -> AutoscaleState:
    # A clock that was wrong when it was recorded must not make it older than this process knows that it is.
    at = max(recorded.meta.at.timestamp(), state.latest)
    _roll(state, recorded, at)
    deployment_id = getattr(recorded.event, "deployment_id", None)
    if deployment_id is None:
        return state
    if isinstance(recorded.event, DeploymentDeleted):
        state.scales.pop(deployment_id, None)
        state.fresh.pop(deployment_id, None)
        return state
    scale = state.scales.get(deployment_id)
    if scale is None:
        scale = state.scales[deployment_id] = Scale(deployment_id)
    if _change(scale, recorded, at):
        state.touch(scale)
    return state


def _roll(state: AutoscaleState, recorded: Recorded, at: float) -> None:
    """Two deployments become one pool for as long as their rolling promotion is active."""
    match recorded.event:
        case PromotionStarted() as event:
            if event.settings.rolling_deploy and event.previous is not None:
                state.pools[event.promotion_id] = Pool(event, event.previous)
                _join(state, event.previous, event.deployment_id)
        case PromotionStepped() as event:
            pool = state.pools.get(event.promotion_id)
            if pool is not None:
                _count(state, pool, pool.counted(event))
        case PromotionRolledBack() as event:
            pool = state.pools.get(event.promotion_id)
            if pool is not None:
                pool.back = True
                if not event.percent:
                    _count(state, pool, 0)
        case PromotionCompleted() as event:
            _part(state, event.promotion_id, at, promoted=True)
        case PromotionFailed() | PromotionCancelled() as event:
            _part(state, event.promotion_id, at, promoted=False)
        case EnvironmentDeleted() as event:
            for promotion_id, pool in list(state.pools.items()):
                if (pool.started.model_id, pool.started.environment) == (event.model_id, event.environment):
                    _part(state, promotion_id, at, promoted=False)


def _join(state: AutoscaleState, current_id: DeploymentId, candidate_id: DeploymentId) -> None:
    current, candidate = state.scales.get(current_id), state.scales.get(candidate_id)
    if current is not None and candidate is not None:
        current.candidate, candidate.current = candidate_id, current_id
        current.other_side = 0
        state.touch(current)


def _count(state: AutoscaleState, pool: Pool, replicas: int) -> None:
    current = state.scales.get(pool.current)
    if current is not None and current.candidate == pool.started.deployment_id:
        current.other_side = replicas
        state.touch(current)


def _part(state: AutoscaleState, promotion_id: PromotionId, at: float, *, promoted: bool) -> None:
    """Whoever has no traffic any more: what its window holds was of before, and says nothing about from now on."""
    pool = state.pools.pop(promotion_id, None)
    if pool is None:
        return
    current, candidate = state.scales.get(pool.current), state.scales.get(pool.started.deployment_id)
    if current is not None and current.candidate == pool.started.deployment_id:
        current.candidate, current.other_side = None, 0
        current.known_from = max(current.known_from, at) if promoted else current.known_from
        state.touch(current)
    if candidate is not None and candidate.current == pool.current:
        candidate.current = None
        candidate.known_from = candidate.known_from if promoted else max(candidate.known_from, at)
        state.touch(candidate)


def _change(scale: Scale, recorded: Recorded, at: float) -> bool:
    match recorded.event:
        case DeploymentPushed():
            scale.born_at = recorded.meta.at.timestamp()
            return False
        case ScalingConfigured() as event:
            _configure(scale, event.settings, recorded.position, at)
        case ReplicaTargetRaised() | ReplicaTargetLowered() as event:
            if event.previous == 0:
                scale.serving, scale.born_at = False, recorded.meta.at.timestamp()
            _move(scale, event.target, recorded.position, at)
        case ScaledToZero() as event:
            _move(scale, 0, recorded.position, at)
            scale.resting, scale.zero_position = event.rule == "quiet", recorded.position
        case MinimumScheduled() as event:
            scale.scheduled = event
        case ReplicasHeld() as event:
            scale.holds[event.promotion_id] = event.at_least
        case ReplicaHoldReleased() as event:
            scale.holds.pop(event.promotion_id, None)
            scale.changed_at = at
        case ReplicaReady():
            scale.serving, scale.ready_at = True, at
        case BuildSucceeded():
            scale.built = scale.able = True
        case DeploymentFailed() | DeploymentDeactivated():
            scale.able = False
        case DeploymentActivated():
            scale.able, scale.position = scale.built, recorded.position
        case _:
            return False
    return True


def _configure(scale: Scale, settings: AutoscalingSettings, position: Position, at: float) -> None:
    before = scale.settings
    if settings.autoscaling_window_s > before.autoscaling_window_s:
        scale.known_from = max(scale.known_from, at - before.autoscaling_window_s)
    if settings.schedule != before.schedule:
        scale.scheduled = None
    scale.settings, scale.settings_position, scale.position = settings, position, position
    scale.below_since = None


def _move(scale: Scale, target: int, position: Position, at: float) -> None:
    scale.target, scale.position, scale.changed_at = target, position, at
    scale.resting = scale.wake = False
    scale.below_since = None


# What is heard


def hear(state: AutoscaleState, signal: Signal, now: datetime) -> AutoscaleState:
    state.latest = at = now.timestamp()
    match signal:
        case Load():
            scale = state.scales.get(signal.deployment_id)
            if scale is not None:
                scale.load.hear(signal, at)
                state.touch(scale)
        case WakeAsked():
            scale = state.scales.get(signal.deployment_id)
            if scale is not None:
                scale.wake, scale.load.last_traffic_at = True, at
                state.fresh[signal.deployment_id] = None
        case Resumed():
            state.since = at
            state.fresh.update(dict.fromkeys(state.scales))
    return state
