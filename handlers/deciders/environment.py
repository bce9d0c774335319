"""Rules of an environment: `production` is always there, others at will; its promotions are in `promotion.py`."""

import re
from collections.abc import Sequence
from typing import Any, get_args

import msgspec

from events.base import DeploymentId, Event, ModelId, Position
from events.environment import (
    EnvironmentConfigured,
    EnvironmentCreated,
    EnvironmentDeleted,
    EnvironmentReverted,
    PromotionCancelled,
    PromotionCompleted,
    PromotionFailed,
    PromotionSettings,
    PromotionSettingsSet,
    PromotionStarted,
    RequestLimits,
    RequestLimitsSet,
)
from events.scaling import AutoscalingSettings
from handlers.base import Command, Context, Decider, Refused, told
from handlers.deciders import promotion
from handlers.deciders.promotion_commands import PromotionCommand, StartPromotion
from handlers.deciders.promotion_phases import Promotion, advance, begin
from handlers.deciders.settings import check_promotion_settings, check_settings

PRODUCTION = "production"


class CreateEnvironment(Command, frozen=True, kw_only=True):
    model_id: ModelId
    environment: str
    autoscaling: AutoscalingSettings


class ConfigureEnvironment(Command, frozen=True, kw_only=True):
    model_id: ModelId
    environment: str
    autoscaling: AutoscalingSettings


class SetRequestLimits(Command, frozen=True, kw_only=True):
    model_id: ModelId
    environment: str
    limits: RequestLimits


class SetPromotionSettings(Command, frozen=True, kw_only=True):
    model_id: ModelId
    environment: str
    settings: PromotionSettings


class DeleteEnvironment(Command, frozen=True, kw_only=True):
    model_id: ModelId
    environment: str


class RevertEnvironment(Command, frozen=True, kw_only=True):
    """Everything as it was after a position, which the asker has looked up."""

    model_id: ModelId
    environment: str
    to_position: Position
    deployment_id: DeploymentId
    autoscaling: AutoscalingSettings
    promotion: PromotionSettings
    limits: RequestLimits
    wanted_replicas: int
    """What the environment needs now."""
    deadline_s: int


EnvironmentCommand = (
    CreateEnvironment
    | ConfigureEnvironment
    | SetRequestLimits
    | SetPromotionSettings
    | DeleteEnvironment
    | RevertEnvironment
    | PromotionCommand
)


class Coming(msgspec.Struct, frozen=True):
    """Settings of a revert, to be set when its promotion completes. None: none, or a person has set others since."""

    autoscaling: AutoscalingSettings | None = None
    promotion: PromotionSettings | None = None
    limits: RequestLimits | None = None


class EnvironmentState(msgspec.Struct, frozen=True, tag=True):
    exists: bool = False
    current: DeploymentId | None = None
    autoscaling: AutoscalingSettings | None = None
    """None until somebody set them."""
    limits: RequestLimits = RequestLimits()
    settings: PromotionSettings = PromotionSettings()
    promotion: Promotion | None = None
    coming: Coming = Coming()


def evolve(state: EnvironmentState, event: Event) -> EnvironmentState:
    replace = msgspec.structs.replace
    match event:
        case EnvironmentCreated():
            return EnvironmentState(exists=True, autoscaling=event.autoscaling)
        case EnvironmentConfigured():
            coming = replace(state.coming, autoscaling=None)
            return replace(state, autoscaling=event.autoscaling, coming=coming)
        case RequestLimitsSet():
            return replace(state, limits=event.limits, coming=replace(state.coming, limits=None))
        case PromotionSettingsSet():
            return replace(state, settings=event.settings, coming=replace(state.coming, promotion=None))
        case EnvironmentReverted():
            return replace(state, coming=Coming(event.autoscaling, event.promotion, event.limits))
        case PromotionStarted():
            return replace(state, promotion=begin(event))
        case PromotionCompleted():
            return replace(state, promotion=None, current=event.deployment_id, coming=Coming())
        case PromotionFailed() | PromotionCancelled():
            return replace(state, promotion=None, coming=Coming())
        case EnvironmentDeleted():
            return EnvironmentState()
        case _ if state.promotion is not None:
            return replace(state, promotion=advance(state.promotion, event))
        case _:
            return state


def decide(command: EnvironmentCommand, state: EnvironmentState, ctx: Context) -> Sequence[Event]:
    if isinstance(command, CreateEnvironment):
        return _create(command, state)
    if not state.exists and command.environment != PRODUCTION:
        reason = f"there is no environment {command.environment!r}: create it first"
        raise Refused("not_found", reason, "environment")
    match command:
        case ConfigureEnvironment() | SetRequestLimits() | SetPromotionSettings():
            return _set(command, state)
        case DeleteEnvironment():
            if command.environment == PRODUCTION:
                raise Refused("invalid", "production always exists and cannot be deleted", "environment")
            return (told(EnvironmentDeleted, command),)
        case RevertEnvironment():
            return _revert(command, state)
        case _:
            return _with_settings(command, state, promotion.decide_promotion(command, place_of(state)))


def place_of(state: EnvironmentState) -> promotion.Place:
    """What a promotion's rules look at."""
    settings = state.coming.autoscaling or state.autoscaling
    least = settings.min_replica if settings is not None else 0
    return promotion.Place(state.current, state.settings, least, state.promotion)


Setting = ConfigureEnvironment | SetRequestLimits | SetPromotionSettings


def _set(command: Setting, state: EnvironmentState) -> Sequence[Event]:
    match command:
        case ConfigureEnvironment():
            check_settings(command.autoscaling)
            same = command.autoscaling == state.autoscaling
            return () if same else (told(EnvironmentConfigured, command),)
        case SetRequestLimits():
            check_limits(command.limits)
            return () if command.limits == state.limits else (told(RequestLimitsSet, command),)
        case SetPromotionSettings():
            check_promotion_settings(command.settings)
            return () if command.settings == state.settings else (told(PromotionSettingsSet, command),)


def _revert(command: RevertEnvironment, state: EnvironmentState) -> Sequence[Event]:
    """The settings reach with the switch; where the deployment is current already, at once. Whole or not at all."""
    if state.promotion is not None:
        active = state.promotion.started
        reason = f"promotion {active.promotion_id} of deployment {active.deployment_id} is active"
        raise Refused("conflict", f"{reason}: wait for it or cancel it", "environment")
    reverted = told(EnvironmentReverted, command)
    coming = evolve(state, reverted)
    settings = _settings(command, coming)
    start = StartPromotion(
        **_ids(command),
        deployment_id=command.deployment_id,
        is_development=False,
        wanted_replicas=command.wanted_replicas,
        cleanup=None,
        deadline_s=command.deadline_s,
    )
    began = promotion.decide_promotion(start, place_of(coming))
    if began:
        return (reverted, *began)
    return (reverted, *settings) if settings else ()


def _with_settings(command: EnvironmentCommand, state: EnvironmentState, made: Sequence[Event]) -> Sequence[Event]:
    """With the switch come the settings of the revert that it belongs to."""
    if any(isinstance(event, PromotionCompleted) for event in made):
        return (*made, *_settings(command, state))
    return made


def _settings(command: EnvironmentCommand, state: EnvironmentState) -> Sequence[Event]:
    """Those that are coming, as if they had been asked for one after the other. Refused where they are not allowed."""
    coming, ids = state.coming, _ids(command)
    asked: list[Setting] = []
    if coming.autoscaling is not None:
        asked.append(ConfigureEnvironment(**ids, autoscaling=coming.autoscaling))
    if coming.promotion is not None:
        asked.append(SetPromotionSettings(**ids, settings=coming.promotion))
    if coming.limits is not None:
        asked.append(SetRequestLimits(**ids, limits=coming.limits))
    return [event for each in asked for event in _set(each, state)]


_IDS = ("id", "actor", "correlation_id", "causation_id", "model_id", "environment")


def _ids(command: EnvironmentCommand) -> dict[str, Any]:
    return {name: getattr(command, name) for name in _IDS}


_LIMITS = (
    ("park_deadline_s", 0, 86400),
    ("call_deadline_s", 1, 86400),
    ("idle_timeout_s", 1, 86400),
    ("total_deadline_s", 1, 604800),
    ("prefix_affinity_bytes", 0, 65536),
)


def check_limits(limits: RequestLimits) -> None:
    """Raises Refused naming the field, its range and the value."""
    for field, low, high in _LIMITS:
        value = getattr(limits, field)
        if value is not None and not low <= value <= high:
            raise Refused("invalid", f"{field} must be from {low} to {high}, not {value}", field)


_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


def _create(command: CreateEnvironment, state: EnvironmentState) -> Sequence[Event]:
    name = command.environment
    if name in (PRODUCTION, "development"):
        raise Refused("invalid", f"the name {name!r} is reserved", "name")
    if not _NAME.fullmatch(name):
        reason = f"{name!r}: an environment name has 1 to 40 of a-z, 0-9 and -, and no - at its ends"
        raise Refused("invalid", reason, "name")
    if state.exists:
        raise Refused("conflict", f"the model already has an environment {name!r}", "name")
    check_settings(command.autoscaling)
    return (told(EnvironmentCreated, command),)


ENVIRONMENT: Decider[EnvironmentCommand, EnvironmentState] = Decider(
    category="environment",
    commands=get_args(EnvironmentCommand),
    initial=EnvironmentState(),
    aggregate_id=lambda command: f"{command.model_id}-{command.environment}",
    decide=decide,
    evolve=evolve,
)
