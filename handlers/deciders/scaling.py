"""Rules of a deployment's replica target. The only writer of targets; every event carries its grounds."""

from collections.abc import Sequence
from typing import Literal, get_args

import msgspec

from events.base import DeploymentId, Event, PromotionId
from events.scaling import (
    AutoscalingSettings,
    CapacityLacking,
    Grounds,
    MinimumScheduled,
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
from handlers.scaling_rule import floor_of, verdict
from handlers.schedule import scheduled


class ConfigureScaling(Command, frozen=True, kw_only=True):
    deployment_id: DeploymentId
    settings: AutoscalingSettings
    source: str


class BringUp(Command, frozen=True, kw_only=True):
    """A deployment was built or activated: have at least one replica, or as many as its settings ask for."""

    deployment_id: DeploymentId
    rule: Literal["activation"] = "activation"


class ScaleByLoad(Command, frozen=True, kw_only=True):
    """A measurement that calls for another target, if it was made for the settings and the target that still hold."""

    deployment_id: DeploymentId
    target: int
    """The one that was measured against."""
    grounds: Grounds


class ApplySchedule(Command, frozen=True, kw_only=True):
    """The scheduled minimum may be another one now."""

    deployment_id: DeploymentId


class HoldReplicas(Command, frozen=True, kw_only=True):
    deployment_id: DeploymentId
    promotion_id: PromotionId
    at_least: int
    lower: bool = False
    """The target goes down by as many as are held fewer than before: others have taken their place."""
    began_with: int = 0
    """Replicas when the promotion began: before the first hold."""


class ReleaseHold(Command, frozen=True, kw_only=True):
    deployment_id: DeploymentId
    promotion_id: PromotionId


class ScaleToZero(Command, frozen=True, kw_only=True):
    deployment_id: DeploymentId
    rule: Literal["replaced", "not promoted", "deactivated", "failed", "deleted"]


class ReportNoCapacity(Command, frozen=True, kw_only=True):
    deployment_id: DeploymentId
    reason: str


ScalingCommand = (
    ConfigureScaling
    | BringUp
    | ScaleByLoad
    | ApplySchedule
    | HoldReplicas
    | ReleaseHold
    | ScaleToZero
    | ReportNoCapacity
)


class ScalingState(msgspec.Struct, frozen=True, tag=True):
    settings: AutoscalingSettings = AutoscalingSettings()
    target: int = 0
    resting: bool = False
    """At zero because it was quiet, not because it is not wanted: its schedule may wake it."""
    holds: tuple[ReplicasHeld, ...] = ()
    """One a promotion: of several environments, or of one as the candidate and of another as the current one."""
    lacking: str | None = None
    scheduled: MinimumScheduled | None = None

    @property
    def held(self) -> int:
        return max((hold.at_least for hold in self.holds), default=0)

    def without(self, promotion_id: PromotionId) -> tuple[ReplicasHeld, ...]:
        return tuple(hold for hold in self.holds if hold.promotion_id != promotion_id)

    @property
    def scheduled_min(self) -> int:
        return self.scheduled.min_replica if self.scheduled is not None else 0


def evolve(state: ScalingState, event: Event) -> ScalingState:
    replace = msgspec.structs.replace
    match event:
        case ScalingConfigured():
            unscheduled = event.settings.schedule != state.settings.schedule
            return replace(state, settings=event.settings, scheduled=None if unscheduled else state.scheduled)
        case ReplicaTargetRaised() | ReplicaTargetLowered():
            return replace(state, target=event.target, resting=False, lacking=None)
        case ScaledToZero():
            return replace(state, target=0, resting=event.rule == "quiet", lacking=None)
        case MinimumScheduled():
            return replace(state, scheduled=event)
        case ReplicasHeld():
            return replace(state, holds=(*state.without(event.promotion_id), event))
        case ReplicaHoldReleased():
            return replace(state, holds=state.without(event.promotion_id))
        case CapacityLacking():
            return replace(state, lacking=event.reason)
        case _:
            return state


def decide(command: ScalingCommand, state: ScalingState, ctx: Context) -> Sequence[Event]:
    settings, floor = state.settings, floor_of(state.settings, state.scheduled_min)
    match command:
        case ConfigureScaling():
            return _configure(command, state)
        case BringUp():
            return _move(command, state, max(state.target, floor, 1), command.rule, Grounds(settings=settings))
        case ScaleByLoad():
            return _scale(command, state)
        case ApplySchedule():
            return _schedule(command, state, ctx)
        case HoldReplicas():
            return _hold(command, state)
        case ReleaseHold():
            if not any(hold.promotion_id == command.promotion_id for hold in state.holds):
                return ()
            return (told(ReplicaHoldReleased, command),)
        case ScaleToZero():
            return _move(command, state, 0, command.rule, Grounds(settings=settings))
        case ReportNoCapacity():
            return () if state.lacking == command.reason else (told(CapacityLacking, command),)


def _hold(command: HoldReplicas, state: ScalingState) -> Sequence[Event]:
    own = next((hold.at_least for hold in state.holds if hold.promotion_id == command.promotion_id), None)
    if own == command.at_least:
        return ()
    before = command.began_with if own is None else own
    given = before - command.at_least if command.lower else 0
    others = max((hold.at_least for hold in state.without(command.promotion_id)), default=0)
    target = max(state.target - max(0, given), command.at_least, min(others, state.target))
    grounds = Grounds(settings=state.settings, promotion_id=command.promotion_id)
    return (told(ReplicasHeld, command), *_move(command, state, target, "promotion", grounds))


def _scale(command: ScaleByLoad, state: ScalingState) -> Sequence[Event]:
    grounds = command.grounds
    if (command.target, grounds.settings, grounds.scheduled_min) != (state.target, state.settings, state.scheduled_min):
        return ()
    found = verdict(state.target, grounds, state.held)
    if found is None:
        return ()
    grounds = msgspec.structs.replace(grounds, wanted=found.wanted)
    return _move(command, state, found.target, found.rule, grounds)


def _schedule(command: ApplySchedule, state: ScalingState, ctx: Context) -> Sequence[Event]:
    least, until = scheduled(state.settings.schedule, ctx.now)
    event = MinimumScheduled(deployment_id=command.deployment_id, min_replica=least, until=until)
    if event == state.scheduled:
        return ()
    if least <= state.target or (state.target == 0 and not state.resting):
        return (event,)
    grounds = Grounds(settings=state.settings, scheduled_min=least)
    return (event, *_move(command, state, least, "schedule", grounds))


def _configure(command: ConfigureScaling, state: ScalingState) -> Sequence[Event]:
    check_settings(command.settings)
    settings = command.settings
    configured: tuple[Event, ...] = (told(ScalingConfigured, command),) if settings != state.settings else ()
    if state.target == 0:
        return configured
    grounds = Grounds(settings=settings, note=command.source)
    held = state.held
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
    commands=get_args(ScalingCommand),
    initial=ScalingState(),
    aggregate_id=lambda command: command.deployment_id,
    decide=decide,
    evolve=evolve,
)
