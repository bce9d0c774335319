"""Traffic to targets: measures each deployment's load and asks for another target where the rule calls for one.

Load is heard, never recorded; only the decision is, with its grounds. What this process has not heard since it began is
not known: until the window is full again only a request that waits raises, and nothing lowers. A deployment is looked
at when something about it changed and when a time comes that its last look named, so the idle cost nothing.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from heapq import heappop, heappush
from math import ceil
from typing import Any

import msgspec

from events.base import ORIGIN, Actor, CommandId, CorrelationId, DeploymentId, Position, PromotionId, derive
from events.build import BuildSucceeded
from events.codec import Recorded
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
    Grounds,
    MinimumScheduled,
    ReplicaHoldReleased,
    ReplicasHeld,
    ReplicaTargetLowered,
    ReplicaTargetRaised,
    ScaledToZero,
    ScalingConfigured,
)
from events.signals import Load, Resumed, Signal, WakeAsked
from handlers.base import NOW, Command, Due, Reactor
from handlers.deciders.scaling import ApplySchedule, ScaleByLoad
from handlers.load_window import LoadWindow
from handlers.scaling_rule import BURST_SHARE, floor_of, lasting_need, verdict

NAME = "autoscale"
STARTING_S = 1800.0
"""While no replica has been ready since the target left zero, quiet is not yet quiet for so much longer."""
AGAIN_S = 2.0
"""What was asked for and has not happened is asked for again after this."""
_ACTOR = Actor(f"reactor:{NAME}", "internal")
_LONG_AGO = float("-inf")


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
    known_from: float = _LONG_AGO
    """Its load is known from here on, or since this process hears, whichever is later; unless it is younger."""
    born_at: float = _LONG_AGO
    """Pushed, or brought up from zero: there was no load before that anybody could have missed."""
    changed_at: float = _LONG_AGO
    """It got a new target."""
    ready_at: float = _LONG_AGO
    below_since: float | None = None
    load: LoadWindow = msgspec.field(default_factory=LoadWindow)
    wake: bool = False
    timer: float | None = None
    """The earliest time at which it is looked at without anything happening."""

    @property
    def held(self) -> int:
        return max(self.holds.values(), default=0)


class AutoscaleState(msgspec.Struct):
    since: float
    """Silence before this moment says nothing."""
    latest: float
    scales: dict[DeploymentId, Scale] = {}
    fresh: dict[DeploymentId, None] = {}
    """Changed since they were last looked at."""
    timers: list[tuple[float, DeploymentId]] = []
    """A heap. An entry that is not its deployment's `timer` is stale."""


# What was recorded


def evolve(state: AutoscaleState, recorded: Recorded) -> AutoscaleState:
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
    # A clock that was wrong when it was recorded must not make it older than this process knows that it is.
    if _change(scale, recorded, max(recorded.meta.at.timestamp(), state.latest)):
        state.fresh[deployment_id] = None
    return state


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
                state.fresh[signal.deployment_id] = None
        case WakeAsked():
            scale = state.scales.get(signal.deployment_id)
            if scale is not None:
                scale.wake, scale.load.last_traffic_at = True, at
                state.fresh[signal.deployment_id] = None
        case Resumed():
            state.since = at
            state.fresh.update(dict.fromkeys(state.scales))
    return state


# What is called for


def ripe(state: AutoscaleState, now: datetime) -> tuple[list[Due], datetime | None]:
    """The commands that are called for now, and when to look again if nothing happens."""
    state.latest = at = now.timestamp()
    looked_at, state.fresh = state.fresh, {}
    while state.timers and state.timers[0][0] <= at:
        when, deployment_id = heappop(state.timers)
        scale = state.scales.get(deployment_id)
        if scale is not None and scale.timer == when:
            scale.timer = None
            looked_at[deployment_id] = None
    dues = []
    for deployment_id in looked_at:
        scale = state.scales[deployment_id]
        command, again = _look(state, scale, at)
        if command is not None:
            dues.append(Due(NOW, command))
            again = at + AGAIN_S
        if again is not None and (scale.timer is None or again < scale.timer):
            scale.timer = ceil(again * 1000) / 1000
            heappush(state.timers, (scale.timer, deployment_id))
    next_at = datetime.fromtimestamp(state.timers[0][0], UTC) if state.timers else None
    return dues, next_at


def _look(state: AutoscaleState, scale: Scale, now: float) -> tuple[Command | None, float | None]:
    """What is called for, or when it may be."""
    if not scale.able:
        return None, None
    schedule_at = _schedule_at(scale)
    if schedule_at is not None and schedule_at <= now:
        return ApplySchedule(**_ids(scale, "schedule", schedule_at), deployment_id=scale.deployment_id), None
    scale.load.expire(now)
    # Who waited while it went to zero may have been led elsewhere, by a promotion.
    if scale.target == 0 and not (scale.wake or scale.load.parked_since(scale.zero_position)):
        return None, schedule_at
    grounds, quiet_from = _measure(state, scale, now)
    found = verdict(scale.target, grounds, scale.held)
    if found is not None:
        ids = _ids(scale, found.rule, found.target)
        command = ScaleByLoad(**ids, deployment_id=scale.deployment_id, target=scale.target, grounds=grounds)
        return command, None
    times = [schedule_at, scale.load.silent_from(), *_lowering_times(state, scale, grounds, quiet_from, now)]
    return None, min((each for each in times if each is not None and each > now), default=None)


def _schedule_at(scale: Scale) -> float | None:
    if not scale.settings.schedule or (scale.target == 0 and not scale.resting):
        return None
    return scale.scheduled.until.timestamp() if scale.scheduled is not None else _LONG_AGO


def _filled_at(state: AutoscaleState, scale: Scale) -> float:
    heard_from = state.since if scale.born_at <= state.since else _LONG_AGO
    return max(scale.known_from, heard_from) + scale.settings.autoscaling_window_s


def _measure(state: AutoscaleState, scale: Scale, now: float) -> tuple[Grounds, float]:
    """The grounds, and the moment since when it has been quiet."""
    settings, load = scale.settings, scale.load
    window_s = float(settings.autoscaling_window_s)
    mean, burst_mean = load.means(now, window_s, window_s / BURST_SHARE)
    in_flight, parked = load.in_flight(), load.parked()
    last_traffic_at = now if in_flight or parked else load.last_traffic_at
    quiet_from = max(last_traffic_at, scale.changed_at, scale.ready_at, state.since)
    if not scale.serving:
        quiet_from += STARTING_S
    grounds = Grounds(
        parked=parked,
        in_flight=in_flight,
        mean=mean,
        burst_mean=burst_mean,
        window_filled=now >= _filled_at(state, scale),
        serving=scale.serving,
        wake=scale.wake and scale.target == 0,
        quiet_for_s=max(0.0, now - quiet_from),
        scheduled_min=scale.scheduled.min_replica if scale.scheduled is not None else 0,
        settings=settings,
        settings_position=scale.settings_position,
    )
    low = grounds.window_filled and scale.serving and lasting_need(grounds, settings) < scale.target
    if not low:
        scale.below_since = None
        return grounds, quiet_from
    if scale.below_since is None:
        scale.below_since = now
    below_for_s = now - max(scale.below_since, scale.changed_at)
    return msgspec.structs.replace(grounds, below_for_s=max(0.0, below_for_s)), quiet_from


def _lowering_times(
    state: AutoscaleState, scale: Scale, grounds: Grounds, quiet_from: float, now: float
) -> Iterable[float]:
    """When the target may fall although nothing more is heard."""
    settings = scale.settings
    if scale.held or scale.target <= floor_of(settings, grounds.scheduled_min):
        return
    yield _filled_at(state, scale)
    yield quiet_from + settings.scale_down_delay_s
    if scale.below_since is not None:
        yield max(scale.below_since, scale.changed_at) + settings.scale_down_delay_s
    if grounds.mean > 0 and scale.load.silent_from() is None:  # It falls by itself as time goes on.
        yield now + settings.autoscaling_window_s / 60


def _ids(scale: Scale, *label: str | float) -> dict[str, Any]:
    derived = derive(NAME, *map(str, label), scale.deployment_id, scale.position, length=24)
    return {"id": CommandId(derived), "actor": _ACTOR, "correlation_id": CorrelationId(derived)}


def _initial(now: datetime) -> AutoscaleState:
    return AutoscaleState(now.timestamp(), now.timestamp())


AUTOSCALE: Reactor[AutoscaleState] = Reactor(NAME, _initial, evolve, hear=hear, ripe=ripe)
