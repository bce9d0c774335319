"""Promotions: begin the ones that pushes ask for, take them step by step, and tidy up after.

    asked by a push, or a model's first ready deployment -> StartPromotion
    active: HoldReplicas as the last step says; more is ready -> StepPromotion; all that is needed -> CompletePromotion
            failed, gone or too late -> RollBackPromotion; on the way back StepPromotion, and at its end FinishRollBack
    ended: ReleaseHold; completed: the environment's settings to the new one, the previous one to zero; else the
           candidate to zero
    the model is gone -> DeleteEnvironment

What comes next is worked out in `rollout.py`; this says it in commands.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import msgspec

from events.base import DeploymentId, ModelId
from events.codec import Recorded
from events.environment import PromotionCompleted
from handlers.base import NOW, Cause, Due, Reactor, caused_by
from handlers.deciders.environment import PRODUCTION, DeleteEnvironment
from handlers.deciders.model import DeactivateDeployment
from handlers.deciders.promotion_commands import (
    CompletePromotion,
    FinishRollBack,
    RollBackPromotion,
    StartPromotion,
    StepPromotion,
)
from handlers.deciders.scaling import ConfigureScaling, HoldReplicas, ReleaseHold, ScaleToZero
from handlers.reactors.promotion_state import Candidate, Families, Family, Place, fold_family
from handlers.rollout import Step, complete, in_use, next_step, opening, pause_s, step_back
from projections.promotion import Progress

NAME = "promote"
DEADLINE_S = 3600
BACK = ("RAMPING_DOWN", "FAILED", "CANCELED")


class PromoteState(msgspec.Struct):
    families: Families
    dues: dict[ModelId, tuple[Due, ...]] = {}
    """Worked out anew for a model whenever something of it changed."""


def evolve(state: PromoteState, recorded: Recorded) -> PromoteState:
    family = fold_family(state.families, recorded)
    if family is not None:
        dues = tuple(due for place in family.places.values() for due in _steps(family, place))
        if dues:
            state.dues[family.model_id] = dues
        else:
            state.dues.pop(family.model_id, None)
    return state


def _steps(family: Family, place: Place) -> Iterable[Due]:
    """All that one environment calls for now."""
    if place.active is not None:
        yield from _advance(family, place, place.active)
    else:
        yield from _begin(family, place)
    yield from _release(family, place)
    yield from _give_up(family, place)
    yield from _settle(family, place)
    if place.orphaned is not None:
        fields = caused_by(place.orphaned, NAME, "orphan", place.environment)
        yield Due(NOW, DeleteEnvironment(**fields, model_id=place.model_id, environment=place.environment))


def _begin(family: Family, place: Place) -> Iterable[Due]:
    if not (place.exists or place.environment == PRODUCTION):
        return
    asked = family.find(place.asked)
    if (asked is None or asked.failure) and place.environment == PRODUCTION and place.current is None:
        fit = (
            each for each in family.candidates.values() if each.ready and not each.is_development and not each.failure
        )
        asked = next(iter(fit), None)
    if asked is None or not asked.built or asked.failure:
        return
    yield Due(
        NOW,
        StartPromotion(
            **caused_by(asked.why, NAME, "start", place.environment, asked.deployment_id),
            model_id=place.model_id,
            environment=place.environment,
            deployment_id=asked.deployment_id,
            is_development=asked.is_development,
            wanted_replicas=_needed(family, place),
            cleanup=place.asked_cleanup,
            deadline_s=asked.deadline_s or DEADLINE_S,
        ),
    )


def _advance(family: Family, place: Place, progress: Progress) -> Iterable[Due]:
    if progress.status == "RAMPING_DOWN":
        yield from _go_back(family, place, progress)
        return
    started, candidate = progress.started, family.find(progress.started.deployment_id)
    if candidate is None or candidate.failure:
        reason = candidate.failure if candidate else "the deployment is not known"
        yield Due(NOW, RollBackPromotion(**_same_promotion(place, "fail"), reason=reason))
        return
    if progress.stepped or opening(started) is None:
        yield from _hold(family, place, progress, candidate)
    if progress.status == "PAUSED":
        return
    yield from _go_on(family, place, progress, candidate)
    if started.settings.rollback_on_not_ready:
        reason = f"not ready within {started.deadline_s} s"
        at = place.moved_at + timedelta(seconds=pause_s(progress) + started.deadline_s)
        yield Due(at, RollBackPromotion(**_same_promotion(place, "late"), reason=reason))


def _go_on(family: Family, place: Place, progress: Progress, candidate: Candidate) -> Iterable[Due]:
    """The next step, or the switch, once the replicas of the last step are called for and have had their time."""
    at = place.moved_at + timedelta(seconds=pause_s(progress))
    step = next_step(progress, len(candidate.ready))
    if step is not None:
        yield Due(at if progress.percent else NOW, _take(place, progress, step))
    elif complete(progress, len(candidate.ready), _needed_of(family, place, progress)):
        yield Due(at if progress.percent else NOW, CompletePromotion(**_same_promotion(place, "complete")))


def _go_back(family: Family, place: Place, progress: Progress) -> Iterable[Due]:
    """Traffic first, as the current deployment has its replicas again; then the candidate's replicas."""
    current, candidate = family.find(place.current), family.find(progress.started.deployment_id)
    if current is None or current.failure or len(current.ready) >= progress.current_replicas:
        yield Due(NOW, FinishRollBack(**_same_promotion(place, "finish")))
        return
    yield from _hold(family, place, progress, candidate)
    step = step_back(progress, len(current.ready))
    if step is not None:
        yield Due(NOW, _take(place, progress, step))
    at = place.moved_at + timedelta(seconds=progress.started.deadline_s)
    yield Due(at, FinishRollBack(**_same_promotion(place, "finish")))


def _take(place: Place, progress: Progress, step: Step) -> StepPromotion:
    fields = msgspec.structs.asdict(step)
    return StepPromotion(**_same_promotion(place, "step"), after=progress.moves, **fields)


def _same_promotion(place: Place, label: str) -> dict[str, Any]:
    """The fields that every command about the active promotion has."""
    assert place.why is not None and place.progress is not None, "an active promotion has a beginning"
    return {
        **caused_by(place.why, NAME, label),
        "model_id": place.model_id,
        "environment": place.environment,
        "promotion_id": place.progress.started.promotion_id,
    }


def _hold(family: Family, place: Place, progress: Progress, candidate: Candidate | None) -> Iterable[Due]:
    """The replicas that the last step calls for, of both. What sleeps is not woken to be replaced."""
    back, started = progress.status == "RAMPING_DOWN", progress.started
    if candidate is not None and not candidate.failure and (progress.percent or not back):
        at_least = progress.candidate_replicas
        if at_least >= started.wanted_replicas and not back:
            at_least = max(at_least, _needed_of(family, place, progress))
        yield from _hold_one(family, place, candidate, at_least, lower=back)
    current = family.find(place.current)
    if current is not None and not current.failure and (current.target or back) and progress.stepped:
        yield from _hold_one(family, place, current, progress.current_replicas, lower=not back)


def _hold_one(family: Family, place: Place, whom: Candidate, at_least: int, *, lower: bool) -> Iterable[Due]:
    """`lower`: others take the place of those that are held no more, unless another environment needs them."""
    assert place.why is not None and place.progress is not None, "an active promotion has a beginning"
    promotion_id = place.progress.started.promotion_id
    held = whom.holds.get(promotion_id)
    if held == at_least or (held is not None and at_least < held and not lower):
        return
    yield Due(
        NOW,
        HoldReplicas(
            **caused_by(place.why, NAME, "hold", whom.deployment_id, at_least),
            deployment_id=whom.deployment_id,
            promotion_id=promotion_id,
            at_least=at_least,
            lower=lower and not _in_use(family, whom.deployment_id, but=place),
            began_with=place.progress.started.current_replicas,
        ),
    )


def _needed(family: Family, place: Place) -> int:
    """Replicas that the environment uses now."""
    current = family.find(place.current)
    return in_use(current.target, len(current.ready)) if current is not None and not current.failure else 1


def _needed_of(family: Family, place: Place, progress: Progress) -> int:
    """Replicas that the candidate has to have for the switch: in a rolling promotion those that it began with, and as
    many as the load has raised since."""
    started, current = progress.started, family.find(place.current)
    if not started.settings.rolling_deploy:
        return _needed(family, place)
    held = current.holds.get(started.promotion_id) if current is not None and not current.failure else None
    if current is None or held is None or _in_use(family, current.deployment_id, but=place):
        return started.wanted_replicas
    return started.wanted_replicas + max(0, current.target - held)


def _release(family: Family, place: Place) -> Iterable[Due]:
    """Holds of this model's deployments that no active promotion needs."""
    active = {p.active.started.promotion_id for p in family.places.values() if p.active is not None}
    for candidate in family.candidates.values():
        for promotion_id in candidate.holds:
            if promotion_id not in active:
                fields = caused_by(place.why or candidate.why, NAME, "release", candidate.deployment_id, promotion_id)
                release = ReleaseHold(**fields, deployment_id=candidate.deployment_id, promotion_id=promotion_id)
                yield Due(NOW, release)


def _give_up(family: Family, place: Place) -> Iterable[Due]:
    """The candidate of a promotion that did not succeed and has no traffic any more, unless it is wanted since."""
    progress, why = place.progress, place.why
    if progress is None or why is None or progress.percent or progress.status not in BACK:
        return
    candidate = family.find(progress.started.deployment_id)
    if candidate is None or candidate.failure or not candidate.target or candidate.target_position > why.position:
        return
    if place.current != candidate.deployment_id and not _in_use(family, candidate.deployment_id, but=place):
        fields = caused_by(why, NAME, "down", candidate.deployment_id)
        yield Due(NOW, ScaleToZero(**fields, deployment_id=candidate.deployment_id, rule="not promoted"))


def _settle(family: Family, place: Place) -> Iterable[Due]:
    """After a switch, unless somebody has decided otherwise since: settings to the new one, the previous one down."""
    current = family.find(place.current)
    why = place.autoscaling_why
    if current is not None and place.autoscaling is not None and why is not None:
        newest = max(why, place.switched or why, key=lambda each: each.position)
        if current.settings_position < newest.position:
            yield Due(
                NOW,
                ConfigureScaling(
                    **caused_by(newest, NAME, "settings", current.deployment_id),
                    deployment_id=current.deployment_id,
                    settings=place.autoscaling,
                    source=f"environment {place.environment}",
                ),
            )
    if place.last is not None and place.switched is not None:
        yield from _wind_down(family, place, place.last, place.switched)


def _wind_down(family: Family, place: Place, last: PromotionCompleted, why: Cause) -> Iterable[Due]:
    previous = family.find(last.previous)
    if previous is None or previous.failure or previous.target == 0:
        return
    if previous.target_position > why.position or _in_use(family, previous.deployment_id):
        return
    if last.cleanup == "SCALE_TO_ZERO":
        fields = caused_by(why, NAME, "down", previous.deployment_id)
        yield Due(NOW, ScaleToZero(**fields, deployment_id=previous.deployment_id, rule="replaced"))
    if last.cleanup == "DEACTIVATE":
        yield Due(
            NOW,
            DeactivateDeployment(
                **caused_by(why, NAME, "deactivate", previous.deployment_id),
                model_id=place.model_id,
                deployment_id=previous.deployment_id,
                reason=f"replaced in {place.environment} by {last.deployment_id}",
            ),
        )


def _in_use(family: Family, deployment_id: DeploymentId, but: Place | None = None) -> bool:
    """By an environment (`but` this one): it is current there, or is to be."""
    return any(
        place.current == deployment_id
        or (place.active is not None and place.active.started.deployment_id == deployment_id)
        for place in family.places.values()
        if place is not but
    )


def due(state: PromoteState) -> Iterable[Due]:
    return tuple(each for dues in state.dues.values() for each in dues)


def _initial(now: datetime) -> PromoteState:
    return PromoteState(Families())


PROMOTE: Reactor[PromoteState] = Reactor(NAME, _initial, evolve, due)
