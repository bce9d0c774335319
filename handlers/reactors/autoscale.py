"""Traffic to targets, first cut: from zero on the first parked request or a wake, to zero after a quiet delay.

Load is heard, never recorded; only the decision is, with its grounds. What this process has not heard since it began
counts as traffic, so a restart scales nothing down.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec

from events.base import ORIGIN, Actor, CommandId, CorrelationId, DeploymentId, Position, derive
from events.build import BuildSucceeded
from events.codec import Recorded
from events.model import DeploymentActivated, DeploymentDeactivated, DeploymentDeleted, DeploymentFailed
from events.replica import ReplicaReady
from events.scaling import (
    AutoscalingSettings,
    ReplicaHoldReleased,
    ReplicasHeld,
    ReplicaTargetLowered,
    ReplicaTargetRaised,
    ScaledToZero,
    ScalingConfigured,
)
from events.signals import Load, Resumed, Signal, WakeAsked
from handlers.base import NOW, Due, Reactor
from handlers.deciders.scaling import BringUp, ReportQuiet

NAME = "autoscale"
SHARE_EXPIRES_S = 5.0
"""A worker that was busy and fell silent counts as busy for this long."""
STARTING_S = 1800.0
"""While no replica has been ready since the target was raised, quiet is not yet quiet for so much longer."""


class Scale(msgspec.Struct):
    deployment_id: DeploymentId
    settings: AutoscalingSettings = AutoscalingSettings()
    position: Position = ORIGIN
    """Of the last event about its target: commands derive from it, so one situation makes one command."""
    target: int = 0
    able: bool = False
    """Built and neither failed nor deactivated."""
    built: bool = False
    held: bool = False
    settled: bool = True
    """A replica has been ready since the target was raised."""
    busy_at: datetime = NOW
    """Last moment at which it had traffic, or got a new target or replica."""
    busy_until: dict[str, datetime] = {}
    """By gateway worker: what it last said holds until then."""
    parked: dict[str, int] = {}
    """By gateway worker."""
    wake: bool = False


class AutoscaleState(msgspec.Struct):
    since: datetime
    scales: dict[DeploymentId, Scale] = {}
    warm: dict[DeploymentId, None] = {}
    """Deployments that could go to zero: a target above the minimum."""
    asked: dict[DeploymentId, None] = {}
    """Deployments at zero that somebody waits for."""


def evolve(state: AutoscaleState, recorded: Recorded) -> AutoscaleState:
    deployment_id = getattr(recorded.event, "deployment_id", None)
    if deployment_id is None:
        return state
    if isinstance(recorded.event, DeploymentDeleted):
        for each in (state.scales, state.warm, state.asked):
            each.pop(deployment_id, None)
        return state
    scale = state.scales.get(deployment_id)
    if scale is None:
        scale = state.scales[deployment_id] = Scale(deployment_id)
    _change(scale, recorded)
    _sort(state, scale)
    return state


def _change(scale: Scale, recorded: Recorded) -> None:
    match recorded.event:
        case ScalingConfigured() as event:
            scale.settings, scale.position = event.settings, recorded.position
        case ReplicaTargetRaised() | ReplicaTargetLowered() as event:
            scale.settled = scale.settled and event.previous > 0
            scale.target, scale.position, scale.busy_at = event.target, recorded.position, recorded.meta.at
            scale.wake = False
            scale.parked.clear()  # Who still waits says so again within a second.
        case ScaledToZero():
            scale.target, scale.position, scale.wake = 0, recorded.position, False
        case ReplicasHeld():
            scale.held = True
        case ReplicaHoldReleased():
            scale.held, scale.busy_at = False, recorded.meta.at
        case ReplicaReady():
            scale.settled, scale.busy_at = True, max(scale.busy_at, recorded.meta.at)
        case BuildSucceeded():
            scale.built = scale.able = True
        case DeploymentFailed() | DeploymentDeactivated():
            scale.able = False
        case DeploymentActivated():
            scale.able, scale.position = scale.built, recorded.position


def _sort(state: AutoscaleState, scale: Scale) -> None:
    deployment_id = scale.deployment_id
    if scale.target > scale.settings.min_replica and not scale.held:
        state.warm[deployment_id] = None
    else:
        state.warm.pop(deployment_id, None)
    if scale.able and scale.target == 0 and (scale.wake or any(scale.parked.values())):
        state.asked[deployment_id] = None
    else:
        state.asked.pop(deployment_id, None)


def hear(state: AutoscaleState, signal: Signal, now: datetime) -> AutoscaleState:
    match signal:
        case Load():
            scale = state.scales.get(signal.deployment_id)
            if scale is not None:
                _hear_load(scale, signal, now)
                _sort(state, scale)
        case WakeAsked():
            scale = state.scales.get(signal.deployment_id)
            if scale is not None:
                scale.wake, scale.busy_at = True, now
                _sort(state, scale)
        case Resumed():
            state.since = now
    return state


def _hear_load(scale: Scale, load: Load, now: datetime) -> None:
    if load.parked:
        scale.parked[load.worker] = load.parked
    else:
        scale.parked.pop(load.worker, None)
    if load.parked or load.in_flight:
        scale.busy_until[load.worker] = now + timedelta(seconds=SHARE_EXPIRES_S)
    else:
        scale.busy_until.pop(load.worker, None)
    scale.busy_at = max(now, *scale.busy_until.values()) if scale.busy_until else now


def due(state: AutoscaleState) -> Iterable[Due]:
    for deployment_id in state.asked:
        yield _from_zero(state.scales[deployment_id])
    for deployment_id in state.warm:
        scale = state.scales[deployment_id]
        quiet_from = max(scale.busy_at, state.since)
        delay_s = scale.settings.scale_down_delay_s
        starting_s = 0.0 if scale.settled else STARTING_S
        yield Due(
            quiet_from + timedelta(seconds=delay_s + starting_s),
            ReportQuiet(
                id=_id("quiet", scale, quiet_from.isoformat()),
                actor=_ACTOR,
                correlation_id=CorrelationId(_id("quiet", scale, quiet_from.isoformat())),
                deployment_id=deployment_id,
                quiet_for_s=float(delay_s),
            ),
        )


def _from_zero(scale: Scale) -> Due:
    parked = sum(scale.parked.values())
    command = BringUp(
        id=_id("up", scale),
        actor=_ACTOR,
        correlation_id=CorrelationId(_id("up", scale)),
        deployment_id=scale.deployment_id,
        rule="parked request" if parked else "wake",
        parked=parked,
    )
    return Due(NOW, command)


_ACTOR = Actor(f"reactor:{NAME}", "internal")


def _id(label: str, scale: Scale, *more: str) -> CommandId:
    return CommandId(derive(NAME, label, scale.deployment_id, scale.position, *more, length=24))


def _initial(now: datetime) -> AutoscaleState:
    return AutoscaleState(now)


AUTOSCALE: Reactor[AutoscaleState] = Reactor(NAME, _initial, evolve, due, hear)
