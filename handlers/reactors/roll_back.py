"""Rolls a promotion back whose candidate answers worse than the current deployment: more errors, or more slowly.

Both are measured by the gateways over the same minute. What this process has not heard is not known: it may roll back
late, and never for what it does not know.
"""

from collections.abc import Iterable
from datetime import datetime

import msgspec

from events.base import DeploymentId, ModelId
from events.codec import Recorded
from events.environment import (
    Comparison,
    EnvironmentDeleted,
    PromotionCancelled,
    PromotionCompleted,
    PromotionFailed,
    PromotionRolledBack,
    PromotionStarted,
)
from events.signals import Answers, Signal
from handlers.answer_window import OVER_S, AnswerWindow, too_bad
from handlers.base import NOW, Cause, Due, Reactor, cause, caused_by
from handlers.deciders.promotion_commands import RollBackPromotion

NAME = "roll_back"


class Judged(msgspec.Struct):
    """A promotion that is judged by its answers."""

    started: PromotionStarted
    why: Cause
    current: DeploymentId
    worse: tuple[str, Comparison] | None = None
    """The reason, and the figures."""


class RollBackState(msgspec.Struct):
    judged: dict[tuple[ModelId, str], Judged] = {}
    """By environment."""
    windows: dict[DeploymentId, AnswerWindow] = {}


def evolve(state: RollBackState, recorded: Recorded) -> RollBackState:
    match recorded.event:
        case PromotionStarted() as event:
            if event.settings.compares and event.previous is not None:
                state.judged[event.model_id, event.environment] = Judged(event, cause(recorded), event.previous)
                state.windows[event.deployment_id] = AnswerWindow()
                state.windows.setdefault(event.previous, AnswerWindow())
        case (
            PromotionRolledBack()
            | PromotionCompleted()
            | PromotionFailed()
            | PromotionCancelled()
            | EnvironmentDeleted() as event
        ):
            if state.judged.pop((event.model_id, event.environment), None) is not None:
                _forget(state)
    return state


def _forget(state: RollBackState) -> None:
    needed = {each for own in state.judged.values() for each in (own.started.deployment_id, own.current)}
    state.windows = {each: window for each, window in state.windows.items() if each in needed}


def hear(state: RollBackState, signal: Signal, now: datetime) -> RollBackState:
    if not isinstance(signal, Answers) or signal.deployment_id not in state.windows:
        return state
    at = now.timestamp()
    state.windows[signal.deployment_id].hear(signal, at)
    for judged in state.judged.values():
        candidate = judged.started.deployment_id
        if judged.worse is None and signal.deployment_id in (candidate, judged.current):
            compared = Comparison(
                over_s=OVER_S,
                candidate=state.windows[candidate].figures(at),
                current=state.windows[judged.current].figures(at),
            )
            reason = too_bad(judged.started.settings, compared)
            judged.worse = (reason, compared) if reason else None
    return state


def due(state: RollBackState) -> Iterable[Due]:
    for (model_id, environment), judged in state.judged.items():
        if judged.worse is not None:
            reason, figures = judged.worse
            yield Due(
                NOW,
                RollBackPromotion(
                    **caused_by(judged.why, NAME, environment),
                    model_id=model_id,
                    environment=environment,
                    promotion_id=judged.started.promotion_id,
                    reason=reason,
                    figures=figures,
                ),
            )


def _initial(now: datetime) -> RollBackState:
    return RollBackState()


ROLL_BACK: Reactor[RollBackState] = Reactor(NAME, _initial, evolve, due, hear)
"""Windows are by what is heard: two processes may come to it at different times, and it happens once."""
