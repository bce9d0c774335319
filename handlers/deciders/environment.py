"""Rules of an environment: ready-then-switch, one active promotion, `production` is always there."""

import re
from collections.abc import Sequence

import msgspec

from events.base import DeploymentId, Event, ModelId, PromotionId, derive
from events.environment import (
    Cleanup,
    EnvironmentConfigured,
    EnvironmentCreated,
    EnvironmentDeleted,
    PromotionCancelled,
    PromotionCompleted,
    PromotionFailed,
    PromotionStarted,
    RequestLimits,
    RequestLimitsSet,
)
from events.scaling import AutoscalingSettings
from handlers.base import Command, Context, Decider, Refused, told
from handlers.deciders.settings import check_settings

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


class StartPromotion(Command, frozen=True, kw_only=True):
    model_id: ModelId
    environment: str
    deployment_id: DeploymentId
    is_development: bool
    wanted_replicas: int
    cleanup: Cleanup
    deadline_s: int


class CompletePromotion(Command, frozen=True, kw_only=True):
    model_id: ModelId
    environment: str
    promotion_id: PromotionId


class FailPromotion(Command, frozen=True, kw_only=True):
    model_id: ModelId
    environment: str
    promotion_id: PromotionId
    reason: str


class CancelPromotion(Command, frozen=True, kw_only=True):
    model_id: ModelId
    environment: str
    reason: str


class DeleteEnvironment(Command, frozen=True, kw_only=True):
    model_id: ModelId
    environment: str


EnvironmentCommand = (
    CreateEnvironment
    | ConfigureEnvironment
    | SetRequestLimits
    | StartPromotion
    | CompletePromotion
    | FailPromotion
    | CancelPromotion
    | DeleteEnvironment
)


class EnvironmentState(msgspec.Struct, frozen=True, tag=True):
    exists: bool = False
    current: DeploymentId | None = None
    autoscaling: AutoscalingSettings = AutoscalingSettings()
    active: PromotionStarted | None = None
    limits: RequestLimits = RequestLimits()


def evolve(state: EnvironmentState, event: Event) -> EnvironmentState:
    replace = msgspec.structs.replace
    match event:
        case EnvironmentCreated():
            return EnvironmentState(exists=True, autoscaling=event.autoscaling)
        case EnvironmentConfigured():
            return replace(state, autoscaling=event.autoscaling)
        case RequestLimitsSet():
            return replace(state, limits=event.limits)
        case PromotionStarted():
            return replace(state, active=event)
        case PromotionCompleted():
            return replace(state, active=None, current=event.deployment_id)
        case PromotionFailed() | PromotionCancelled():
            return replace(state, active=None)
        case EnvironmentDeleted():
            return EnvironmentState()
        case _:
            return state


def decide(command: EnvironmentCommand, state: EnvironmentState, ctx: Context) -> Sequence[Event]:
    if isinstance(command, CreateEnvironment):
        return _create(command, state)
    if not state.exists and command.environment != PRODUCTION:
        reason = f"there is no environment {command.environment!r}: create it first"
        raise Refused("not_found", reason, "environment")
    match command:
        case ConfigureEnvironment():
            check_settings(command.autoscaling)
            same = command.autoscaling == state.autoscaling
            return () if same else (told(EnvironmentConfigured, command),)
        case SetRequestLimits():
            _check_limits(command.limits)
            return () if command.limits == state.limits else (told(RequestLimitsSet, command),)
        case StartPromotion():
            return _start(command, state)
        case CompletePromotion() | FailPromotion():
            return _end(command, state)
        case CancelPromotion():
            if state.active is None:
                raise Refused("precondition", f"no promotion to {command.environment} is active", "environment")
            active = state.active
            ids = {"promotion_id": active.promotion_id, "deployment_id": active.deployment_id}
            return (told(PromotionCancelled, command, **ids),)
        case DeleteEnvironment():
            if command.environment == PRODUCTION:
                raise Refused("invalid", "production always exists and cannot be deleted", "environment")
            return (told(EnvironmentDeleted, command),)


_LIMITS = (
    ("park_deadline_s", 0, 86400),
    ("call_deadline_s", 1, 86400),
    ("idle_timeout_s", 1, 86400),
    ("total_deadline_s", 1, 604800),
    ("prefix_affinity_bytes", 0, 65536),
)


def _check_limits(limits: RequestLimits) -> None:
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


def _start(command: StartPromotion, state: EnvironmentState) -> Sequence[Event]:
    if command.is_development:
        reason = "a development deployment cannot be promoted: publish it with `truss push --promote` instead"
        raise Refused("invalid", reason, "deployment_id")
    if state.active is not None:
        if state.active.deployment_id == command.deployment_id:
            return ()
        reason = (
            f"promotion {state.active.promotion_id} of deployment {state.active.deployment_id}"
            f" to {command.environment} is active: wait for it or cancel it"
        )
        raise Refused("conflict", reason, "environment")
    if state.current == command.deployment_id:
        return ()
    promotion_id = PromotionId(derive("promotion", command.id))
    return (told(PromotionStarted, command, promotion_id=promotion_id, previous=state.current),)


def _end(command: CompletePromotion | FailPromotion, state: EnvironmentState) -> Sequence[Event]:
    active = state.active
    if active is None or active.promotion_id != command.promotion_id:
        return ()
    if isinstance(command, FailPromotion):
        return (told(PromotionFailed, command, deployment_id=active.deployment_id),)
    return (
        told(
            PromotionCompleted,
            command,
            deployment_id=active.deployment_id,
            previous=state.current,
            cleanup=active.cleanup,
        ),
    )


ENVIRONMENT: Decider[EnvironmentCommand, EnvironmentState] = Decider(
    category="environment",
    commands=(
        CreateEnvironment,
        ConfigureEnvironment,
        SetRequestLimits,
        StartPromotion,
        CompletePromotion,
        FailPromotion,
        CancelPromotion,
        DeleteEnvironment,
    ),
    initial=EnvironmentState(),
    aggregate_id=lambda command: f"{command.model_id}-{command.environment}",
    decide=decide,
    evolve=evolve,
)
