"""The state machine of a promotion: one table says what every command does in every phase.

The diagram in ops/docs/promotion.md is made from that table. A reactor's commands are void (nothing) once the
promotion has moved on; a person's are refused with what to do instead.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from events.base import DeploymentId, Event, PromotionId, derive
from events.environment import (
    PromotionCancelled,
    PromotionCompleted,
    PromotionFailed,
    PromotionPaused,
    PromotionResumed,
    PromotionRolledBack,
    PromotionSettings,
    PromotionStarted,
    PromotionStepped,
)
from handlers.base import Command, Refused, told
from handlers.deciders.promotion_commands import (
    CancelPromotion,
    CompletePromotion,
    FinishRollBack,
    PausePromotion,
    PromotionCommand,
    ResumePromotion,
    RollBackPromotion,
    RollForward,
    SetCanaryWeight,
    StartPromotion,
    StepPromotion,
)
from handlers.deciders.promotion_phases import PHASES, Phase, Promotion


class Place(msgspec.Struct, frozen=True):
    """What a promotion's rules look at."""

    current: DeploymentId | None
    settings: PromotionSettings
    min_replica: int
    promotion: Promotion | None

    @property
    def phase(self) -> Phase:
        return "NONE" if self.promotion is None else self.promotion.phase


Answer = Callable[[Any, Place], Sequence[Event]]
"""The events; none where it is already so, or void. May refuse."""


# What commands do


def _start(command: StartPromotion, place: Place) -> Sequence[Event]:
    _check_published(command)
    if place.current == command.deployment_id:
        return ()
    settings = place.settings
    started = told(
        PromotionStarted,
        command,
        promotion_id=PromotionId(derive("promotion", command.id)),
        previous=place.current,
        wanted_replicas=_wanted(command, place),
        cleanup=command.cleanup or settings.cleanup,
        deadline_s=command.deadline_s if settings.ready_deadline_s is None else settings.ready_deadline_s,
        settings=settings,
        current_replicas=max(1, command.wanted_replicas),
    )
    return (started,)


def _check_published(command: StartPromotion) -> None:
    if command.is_development:
        reason = "a development deployment cannot be promoted: publish it with `truss push --promote` instead"
        raise Refused("invalid", reason, "deployment_id")


def _wanted(command: StartPromotion, place: Place) -> int:
    needed = max(1, command.wanted_replicas, place.min_replica)
    overhead = place.settings.replica_overhead_percent if place.settings.rolling_deploy else 0
    return needed + -(-needed * overhead // 100)


def _busy(command: StartPromotion, place: Place) -> Sequence[Event]:
    _check_published(command)
    active = _of(place).started
    if active.deployment_id == command.deployment_id:
        return ()
    reason = (
        f"promotion {active.promotion_id} of deployment {active.deployment_id}"
        f" to {command.environment} is active: wait for it or cancel it"
    )
    raise Refused("conflict", reason, "environment")


def _step(command: StepPromotion, place: Place) -> Sequence[Event]:
    promotion = _of(place)
    if (command.promotion_id, command.after) != (promotion.started.promotion_id, promotion.moves):
        return ()
    _check_percent(command.percent)
    return (_told(PromotionStepped, command, promotion),)


def _weigh(command: SetCanaryWeight, place: Place) -> Sequence[Event]:
    promotion = _of(place)
    _check_percent(command.percent)
    if promotion.paused and promotion.percent == command.percent:
        return ()
    wanted = promotion.started.wanted_replicas
    stepped = _told(
        PromotionStepped,
        command,
        promotion,
        ready=promotion.ready,
        candidate_replicas=max(promotion.candidate_replicas, 1, -(-wanted * command.percent // 100)),
        current_replicas=promotion.current_replicas,
        held=True,
    )
    return (stepped,)


def _check_percent(percent: int) -> None:
    if not 0 <= percent <= 99:
        reason = f"percent must be from 0 to 99, not {percent}: all of the traffic is what a roll forward gives"
        raise Refused("invalid", reason, "percent")


def _pause(command: PausePromotion, place: Place) -> Sequence[Event]:
    return (_told(PromotionPaused, command, _of(place)),)


def _resume(command: ResumePromotion, place: Place) -> Sequence[Event]:
    return (_told(PromotionResumed, command, _of(place)),)


def _complete(command: CompletePromotion, place: Place) -> Sequence[Event]:
    return () if _void(command, place) else (_switch(command, place),)


def _forward(command: RollForward, place: Place) -> Sequence[Event]:
    if command.candidate_ready < 1:
        deployment_id = _of(place).started.deployment_id
        reason = f"no replica of deployment {deployment_id} is ready, so nothing could answer: wait for one or cancel"
        raise Refused("precondition", reason, "environment")
    return (_switch(command, place),)


def _switch(command: CompletePromotion | RollForward, place: Place) -> Event:
    promotion = _of(place)
    return _told(PromotionCompleted, command, promotion, previous=place.current, cleanup=promotion.started.cleanup)


def _roll_back(command: RollBackPromotion, place: Place) -> Sequence[Event]:
    if _void(command, place):
        return ()
    promotion = _of(place)
    back = _told(PromotionRolledBack, command, promotion, outcome="FAILED", percent=0)
    if promotion.lowered:
        return (back,)
    failed = _told(PromotionFailed, command, promotion)
    return (back, failed) if promotion.percent else (failed,)


def _cancel(command: CancelPromotion, place: Place) -> Sequence[Event]:
    promotion = _of(place)
    if not promotion.lowered:
        return (_told(PromotionCancelled, command, promotion),)
    percent = 0 if command.force else promotion.percent
    return (_told(PromotionRolledBack, command, promotion, outcome="CANCELED", percent=percent, figures=None),)


def _cancel_again(command: CancelPromotion, place: Place) -> Sequence[Event]:
    """Only force adds something: what was still to follow the replicas comes back at once."""
    promotion = _of(place)
    if not command.force or not promotion.percent:
        return ()
    outcome = promotion.outcome
    return (_told(PromotionRolledBack, command, promotion, outcome=outcome, percent=0, figures=None),)


def _finish(command: FinishRollBack, place: Place) -> Sequence[Event]:
    if _void(command, place):
        return ()
    promotion = _of(place)
    kind = PromotionFailed if promotion.outcome == "FAILED" else PromotionCancelled
    return (_told(kind, command, promotion, reason=promotion.reason),)


def _nothing(command: Command, place: Place) -> Sequence[Event]:
    return ()


def _nothing_active(command: Any, place: Place) -> Sequence[Event]:
    raise Refused("precondition", f"no promotion to {command.environment} is active", "environment")


def _going_back(command: Any, place: Place) -> Sequence[Event]:
    reason = f"the promotion to {command.environment} is being rolled back: wait for its end or roll forward"
    raise Refused("precondition", reason, "environment")


def _of(place: Place) -> Promotion:
    assert place.promotion is not None, "the phase says so"
    return place.promotion


def _void(command: Any, place: Place) -> bool:
    """It is about another promotion than the active one."""
    return bool(command.promotion_id != _of(place).started.promotion_id)


def _told(kind: type[Any], command: Command, promotion: Promotion, **more: object) -> Event:
    ids = {"promotion_id": promotion.started.promotion_id, "deployment_id": promotion.started.deployment_id}
    event: Event = told(kind, command, **ids, **more)
    return event


# The table

_ROWS: Sequence[tuple[type[Command], Sequence[Answer]]] = (
    #                   none, releasing, ramping up, paused, ramping down
    (StartPromotion, (_start, _busy, _busy, _busy, _busy)),
    (StepPromotion, (_nothing, _step, _step, _nothing, _step)),
    (CompletePromotion, (_nothing, _complete, _complete, _nothing, _nothing)),
    (RollBackPromotion, (_nothing, _roll_back, _roll_back, _roll_back, _nothing)),
    (FinishRollBack, (_nothing, _nothing, _nothing, _nothing, _finish)),
    (SetCanaryWeight, (_nothing_active, _weigh, _weigh, _weigh, _going_back)),
    (PausePromotion, (_nothing_active, _pause, _pause, _nothing, _going_back)),
    (ResumePromotion, (_nothing_active, _nothing, _nothing, _resume, _going_back)),
    (CancelPromotion, (_nothing_active, _cancel, _cancel, _cancel, _cancel_again)),
    (RollForward, (_nothing_active, _forward, _forward, _forward, _forward)),
)
TABLE: Mapping[type[Command], Mapping[Phase, Answer]] = MappingProxyType(
    {command: MappingProxyType(dict(zip(PHASES, answers, strict=True))) for command, answers in _ROWS}
)


def decide_promotion(command: PromotionCommand, place: Place) -> Sequence[Event]:
    return TABLE[type(command)][place.phase](command, place)
