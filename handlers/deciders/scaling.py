"""Rules of a deployment's replica target. The only writer of targets; every event carries its grounds."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from events.base import DeploymentId, Event, PromotionId
from events.scaling import (
    AutoscalingSettings,
    CapacityLacking,
    Grounds,
    ReplicaHoldReleased,
    ReplicasHeld,
    ReplicaTargetLowered,
    ReplicaTargetRaised,
    Rule,
    ScaledToZero,
    ScalingConfigured,
)
from handlers.base import Command, Context, Decider, told
from handlers.deciders.settings import check_settings


class ConfigureScaling(Command, frozen=True, kw_only=True):
    deployment_id: DeploymentId
    settings: AutoscalingSettings
    source: str


class BringUp(Command, frozen=True, kw_only=True):
    """Have at least one replica (or min_replica): a deployment was built or activated, a request waits, a wake came."""

    deployment_id: DeploymentId
    rule: Literal["activation", "parked request", "wake"]
    parked: int = 0


class ReportQuiet(Command, frozen=True, kw_only=True):
    """No request ran or waited for this long."""

    deployment_id: DeploymentId
    quiet_for_s: float


class HoldReplicas(Command, frozen=True, kw_only=True):
    deployment_id: DeploymentId
    promotion_id: PromotionId
    at_least: int


class ReleaseHold(Command, frozen=True, kw_only=True):
    deployment_id: DeploymentId
    promotion_id: PromotionId


class ScaleToZero(Command, frozen=True, kw_only=True):
    deployment_id: DeploymentId
    rule: Literal["replaced", "deactivated", "failed", "deleted"]


class ReportNoCapacity(Command, frozen=True, kw_only=True):
    deployment_id: DeploymentId
    reason: str


ScalingCommand = ConfigureScaling | BringUp | ReportQuiet | HoldReplicas | ReleaseHold | ScaleToZero | ReportNoCapacity


class ScalingState(msgspec.Struct, frozen=True, tag=True):
    settings: AutoscalingSettings = AutoscalingSettings()
    target: int = 0
    hold: ReplicasHeld | None = None
    lacking: str | None = None


def evolve(state: ScalingState, event: Event) -> ScalingState:
    replace = msgspec.structs.replace
    match event:
        case ScalingConfigured():
            return replace(state, settings=event.settings)
        case ReplicaTargetRaised() | ReplicaTargetLowered():
            return replace(state, target=event.target, lacking=None)
        case ScaledToZero():
            return replace(state, target=0, lacking=None)
        case ReplicasHeld():
            return replace(state, hold=event)
        case ReplicaHoldReleased():
            return replace(state, hold=None)
        case CapacityLacking():
            return replace(state, lacking=event.reason)
        case _:
            return state


def decide(command: ScalingCommand, state: ScalingState, ctx: Context) -> Sequence[Event]:
    settings, floor = state.settings, state.settings.min_replica
    match command:
        case ConfigureScaling():
            return _configure(command, state)
        case BringUp():
            grounds = Grounds(parked=command.parked, settings=settings)
            return _move(command, state, max(state.target, floor, 1), command.rule, grounds)
        case ReportQuiet():
            if command.quiet_for_s < settings.scale_down_delay_s or state.hold is not None:
                return ()
            grounds = Grounds(quiet_for_s=command.quiet_for_s, settings=settings)
            return _move(command, state, min(state.target, floor), "quiet", grounds)
        case HoldReplicas():
            if state.hold is not None and state.hold.promotion_id == command.promotion_id:
                return ()
            grounds = Grounds(settings=settings, promotion_id=command.promotion_id)
            raised = _move(command, state, max(state.target, command.at_least), "promotion", grounds)
            return (told(ReplicasHeld, command), *raised)
        case ReleaseHold():
            if state.hold is None or state.hold.promotion_id != command.promotion_id:
                return ()
            return (told(ReplicaHoldReleased, command),)
        case ScaleToZero():
            return _move(command, state, 0, command.rule, Grounds(settings=settings))
        case ReportNoCapacity():
            return () if state.lacking == command.reason else (told(CapacityLacking, command),)


def _configure(command: ConfigureScaling, state: ScalingState) -> Sequence[Event]:
    check_settings(command.settings)
    settings = command.settings
    configured: tuple[Event, ...] = (told(ScalingConfigured, command),) if settings != state.settings else ()
    if state.target == 0:
        return configured
    grounds = Grounds(settings=settings, note=command.source)
    held = state.hold.at_least if state.hold is not None else 0
    ceiling = max(settings.max_replica, held)
    if state.target > ceiling:
        return (*configured, *_move(command, state, ceiling, "maximum", grounds))
    return (*configured, *_move(command, state, max(state.target, settings.min_replica), "minimum", grounds))


def _move(command: ScalingCommand, state: ScalingState, target: int, rule: Rule, grounds: Grounds) -> Sequence[Event]:
    if target == state.target:
        return ()
    fields = {
        "deployment_id": command.deployment_id,
        "previous": state.target,
        "rule": rule,
        "grounds": grounds,
    }
    if target == 0:
        return (told(ScaledToZero, command, **fields),)
    kind = ReplicaTargetRaised if target > state.target else ReplicaTargetLowered
    return (told(kind, command, **fields, target=target),)


SCALING: Decider[ScalingCommand, ScalingState] = Decider(
    category="scaling",
    commands=(
        ConfigureScaling,
        BringUp,
        ReportQuiet,
        HoldReplicas,
        ReleaseHold,
        ScaleToZero,
        ReportNoCapacity,
    ),
    initial=ScalingState(),
    aggregate_id=lambda command: command.deployment_id,
    decide=decide,
    evolve=evolve,
)
