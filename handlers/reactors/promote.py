"""Promotions: begin the ones that pushes ask for, hold the candidate's replicas, switch when ready, tidy up after.

    asked by a push, or a model's first ready deployment -> StartPromotion
    active: HoldReplicas; ready at the size needed -> CompletePromotion; failed, gone or too late -> RollBackPromotion
    ended: ReleaseHold; completed: the environment's settings to the new one, the previous one to zero
    the model is gone -> DeleteEnvironment

The current deployment is not touched before the switch.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import msgspec

from events.base import DeploymentId, ModelId
from events.codec import Recorded
from events.environment import (
    PromotionCompleted,
    PromotionStarted,
)
from handlers.base import NOW, Cause, Due, Reactor, caused_by
from handlers.deciders.environment import (
    PRODUCTION,
    DeleteEnvironment,
)
from handlers.deciders.model import DeactivateDeployment
from handlers.deciders.promotion import CompletePromotion, RollBackPromotion, StartPromotion
from handlers.deciders.scaling import ConfigureScaling, HoldReplicas, ReleaseHold, ScaleToZero
from handlers.reactors.promotion_state import Families, Family, Place, fold_family

NAME = "promote"
DEADLINE_S = 3600


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
    current = family.find(place.current)
    yield Due(
        NOW,
        StartPromotion(
            **caused_by(asked.why, NAME, "start", place.environment, asked.deployment_id),
            model_id=place.model_id,
            environment=place.environment,
            deployment_id=asked.deployment_id,
            is_development=asked.is_development,
            wanted_replicas=max(1, len(current.ready) if current else 1),
            cleanup=place.asked_cleanup,
            deadline_s=asked.deadline_s or DEADLINE_S,
        ),
    )


def _advance(family: Family, place: Place, active: PromotionStarted) -> Iterable[Due]:
    why = place.why
    candidate = family.find(active.deployment_id)
    assert why is not None, "an active promotion has a beginning"
    ids: dict[str, Any] = {
        "model_id": place.model_id,
        "environment": place.environment,
        "promotion_id": active.promotion_id,
    }
    if candidate is None or candidate.failure:
        reason = candidate.failure if candidate else "the deployment is not known"
        yield Due(NOW, RollBackPromotion(**caused_by(why, NAME, "fail"), **ids, reason=reason))
        return
    if candidate.hold != active.promotion_id:
        yield Due(
            NOW,
            HoldReplicas(
                **caused_by(why, NAME, "hold"),
                deployment_id=active.deployment_id,
                promotion_id=active.promotion_id,
                at_least=active.wanted_replicas,
            ),
        )
    if len(candidate.ready) >= active.wanted_replicas:
        yield Due(NOW, CompletePromotion(**caused_by(why, NAME, "complete"), **ids))
    reason = f"not ready within {active.deadline_s} s"
    at = place.active_at + timedelta(seconds=active.deadline_s)
    yield Due(at, RollBackPromotion(**caused_by(why, NAME, "late"), **ids, reason=reason))


def _release(family: Family, place: Place) -> Iterable[Due]:
    """Holds of this model's deployments that no active promotion needs."""
    active = {p.active.promotion_id for p in family.places.values() if p.active is not None}
    for candidate in family.candidates.values():
        if candidate.hold is not None and candidate.hold not in active:
            fields = caused_by(place.why or candidate.why, NAME, "release", candidate.hold)
            release = ReleaseHold(**fields, deployment_id=candidate.deployment_id, promotion_id=candidate.hold)
            yield Due(NOW, release)


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


def _in_use(family: Family, deployment_id: DeploymentId) -> bool:
    return any(
        place.current == deployment_id or (place.active is not None and place.active.deployment_id == deployment_id)
        for place in family.places.values()
    )


def due(state: PromoteState) -> Iterable[Due]:
    return tuple(each for dues in state.dues.values() for each in dues)


def _initial(now: datetime) -> PromoteState:
    return PromoteState(Families())


PROMOTE: Reactor[PromoteState] = Reactor(NAME, _initial, evolve, due)
