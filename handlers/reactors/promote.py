"""Promotions: begin the ones that pushes ask for, hold the candidate's replicas, switch when ready, tidy up after.

    asked by a push, or a model's first ready deployment -> StartPromotion
    active: HoldReplicas; ready at the size needed -> CompletePromotion; failed, gone or too late -> FailPromotion
    ended: ReleaseHold; completed: the environment's settings to the new one, the previous one to zero
    the model is gone -> DeleteEnvironment

The current deployment is not touched before the switch.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import msgspec

from events.base import DeploymentId, ModelId, Position, PromotionId, ReplicaId
from events.build import BuildFailed, BuildStopped, BuildSucceeded
from events.codec import Recorded
from events.environment import (
    Cleanup,
    EnvironmentConfigured,
    EnvironmentCreated,
    EnvironmentDeleted,
    PromotionCancelled,
    PromotionCompleted,
    PromotionFailed,
    PromotionStarted,
)
from events.model import (
    DeploymentActivated,
    DeploymentDeactivated,
    DeploymentDeleted,
    DeploymentFailed,
    DeploymentPushed,
    DeploymentRetried,
    ModelDeleted,
    ModelRegistered,
)
from events.replica import (
    ReplicaDraining,
    ReplicaFailed,
    ReplicaLost,
    ReplicaReady,
    ReplicaStopped,
    ReplicaUnready,
)
from events.scaling import (
    AutoscalingSettings,
    ReplicaHoldReleased,
    ReplicasHeld,
    ReplicaTargetLowered,
    ReplicaTargetRaised,
    ScaledToZero,
    ScalingConfigured,
)
from handlers.base import NOW, Cause, Due, Reactor, cause, caused_by
from handlers.deciders.environment import (
    PRODUCTION,
    CompletePromotion,
    DeleteEnvironment,
    FailPromotion,
    StartPromotion,
)
from handlers.deciders.model import DeactivateDeployment
from handlers.deciders.scaling import ConfigureScaling, HoldReplicas, ReleaseHold, ScaleToZero

NAME = "promote"
DEADLINE_S = 3600


class Candidate(msgspec.Struct):
    """What a promotion needs to know of a deployment."""

    model_id: ModelId
    deployment_id: DeploymentId
    is_development: bool
    deadline_s: int
    why: Cause
    """Its push, or the event since when it can be promoted."""
    built: bool = False
    failure: str = ""
    """Why it cannot get ready; empty while it may."""
    gone: bool = False
    """Deleted, for good."""
    ready: set[ReplicaId] = set()
    target: int = 0
    target_position: Position = Position(0)
    settings_position: Position = Position(0)
    hold: PromotionId | None = None


class Place(msgspec.Struct):
    """One environment."""

    model_id: ModelId
    environment: str
    current: DeploymentId | None = None
    autoscaling: AutoscalingSettings | None = None
    autoscaling_why: Cause | None = None
    active: PromotionStarted | None = None
    active_at: datetime = NOW
    last: PromotionCompleted | None = None
    why: Cause | None = None
    """The event that last changed the promotion."""
    exists: bool = False
    """It was created; production always is there."""
    orphaned: Cause | None = None
    """Its model is gone."""
    asked: DeploymentId | None = None
    asked_cleanup: Cleanup = "SCALE_TO_ZERO"


Key = tuple[ModelId, str]


class PromoteState(msgspec.Struct):
    places: dict[Key, Place] = {}
    candidates: dict[DeploymentId, Candidate] = {}
    registered: set[ModelId] = set()
    dues: dict[Key, tuple[Due, ...]] = {}


def evolve(state: PromoteState, recorded: Recorded) -> PromoteState:
    event = recorded.event
    match event:
        case DeploymentPushed():
            _push(state, event, recorded)
        case (
            EnvironmentCreated()
            | EnvironmentConfigured()
            | PromotionStarted()
            | PromotionCompleted()
            | PromotionFailed()
            | PromotionCancelled()
            | EnvironmentDeleted()
        ):
            _change_place(state, _place(state, event.model_id, event.environment), recorded)
        case ModelRegistered():
            state.registered.add(event.model_id)
        case ModelDeleted():
            _delete_model(state, event.model_id, cause(recorded))
        case _:
            candidate = state.candidates.get(getattr(event, "deployment_id", DeploymentId("")))
            if candidate is None:
                return state
            if not _change_candidate(state, candidate, recorded):
                return state
    for model_id in _models_touched(state, event):
        for key in [key for key in state.places if key[0] == model_id]:
            state.dues[key] = tuple(_steps(state, state.places[key]))
            if not state.dues[key]:
                del state.dues[key]
    return state


def _models_touched(state: PromoteState, event: object) -> tuple[ModelId, ...]:
    model_id = getattr(event, "model_id", None)
    if model_id is None:
        candidate = state.candidates.get(getattr(event, "deployment_id", DeploymentId("")))
        model_id = candidate.model_id if candidate else None
    return () if model_id is None else (model_id,)


def _place(state: PromoteState, model_id: ModelId, environment: str) -> Place:
    return state.places.setdefault((model_id, environment), Place(model_id, environment))


def _push(state: PromoteState, event: DeploymentPushed, recorded: Recorded) -> None:
    state.candidates[event.deployment_id] = Candidate(
        event.model_id, event.deployment_id, event.is_development, event.deploy_timeout_s, cause(recorded)
    )
    _place(state, event.model_id, PRODUCTION)
    if event.environment is not None:
        place = _place(state, event.model_id, event.environment)
        place.asked = event.deployment_id
        place.asked_cleanup = "SCALE_TO_ZERO" if event.scale_down_previous else "KEEP"


def _delete_model(state: PromoteState, model_id: ModelId, why: Cause) -> None:
    """Its deployments can serve nothing any more; a model of the same name begins anew."""
    state.registered.discard(model_id)
    for candidate in state.candidates.values():
        if candidate.model_id == model_id:
            candidate.failure, candidate.gone = "the model was deleted", True
    for place in state.places.values():
        if place.model_id == model_id:
            place.current = place.autoscaling = place.autoscaling_why = place.last = place.asked = None
            place.orphaned = why if place.exists else None


def _change_place(state: PromoteState, place: Place, recorded: Recorded) -> None:
    event = recorded.event
    match event:
        case EnvironmentCreated() | EnvironmentConfigured():
            if isinstance(event, EnvironmentCreated):
                place.exists = True
                place.orphaned = None if place.model_id in state.registered else cause(recorded)
            place.autoscaling, place.autoscaling_why = event.autoscaling, cause(recorded)
        case PromotionStarted():
            place.active, place.active_at, place.why = event, recorded.meta.at, cause(recorded)
            if place.asked == event.deployment_id:
                place.asked = None
        case PromotionCompleted():
            place.active, place.current, place.last, place.why = None, event.deployment_id, event, cause(recorded)
            promoted = state.candidates.get(event.deployment_id)
            if promoted is None or promoted.gone:  # Deleted while the switch was on its way.
                place.current = None
        case PromotionFailed() | PromotionCancelled():
            place.active, place.why = None, cause(recorded)
        case EnvironmentDeleted():
            del state.places[place.model_id, place.environment]
            state.dues.pop((place.model_id, place.environment), None)


def _change_candidate(state: PromoteState, candidate: Candidate, recorded: Recorded) -> bool:
    """False when the event changes nothing that a promotion looks at."""
    match recorded.event:
        case BuildSucceeded():
            candidate.built, candidate.why = True, cause(recorded)
        case BuildFailed() | DeploymentFailed() as event:
            candidate.failure = event.reason
        case BuildStopped() | DeploymentDeactivated() as event:
            candidate.failure = event.reason
        case DeploymentRetried() | DeploymentActivated():
            candidate.failure, candidate.why = "", cause(recorded)
        case DeploymentDeleted():
            candidate.failure, candidate.gone = "it was deleted", True
            for place in state.places.values():
                if place.current == candidate.deployment_id:
                    place.current = None
                if place.asked == candidate.deployment_id:
                    place.asked = None
        case ReplicaReady() as event:
            candidate.ready.add(event.replica_id)
        case ReplicaUnready() | ReplicaDraining() | ReplicaStopped() | ReplicaFailed() | ReplicaLost() as event:
            candidate.ready.discard(event.replica_id)
        case ReplicaTargetRaised() | ReplicaTargetLowered() as event:
            candidate.target, candidate.target_position = event.target, recorded.position
        case ScaledToZero():
            candidate.target, candidate.target_position = 0, recorded.position
        case ScalingConfigured():
            candidate.settings_position = recorded.position
        case ReplicasHeld() as event:
            candidate.hold = event.promotion_id
        case ReplicaHoldReleased():
            candidate.hold = None
        case _:
            return False
    return True


def _steps(state: PromoteState, place: Place) -> Iterable[Due]:
    """All that one environment calls for now."""
    if place.active is not None:
        yield from _advance(state, place, place.active)
    else:
        yield from _begin(state, place)
    yield from _release(state, place)
    yield from _settle(state, place)
    if place.orphaned is not None:
        fields = caused_by(place.orphaned, NAME, "orphan", place.environment)
        yield Due(NOW, DeleteEnvironment(**fields, model_id=place.model_id, environment=place.environment))


def _begin(state: PromoteState, place: Place) -> Iterable[Due]:
    if not (place.exists or place.environment == PRODUCTION):
        return
    asked = state.candidates.get(place.asked) if place.asked is not None else None
    if (asked is None or asked.failure) and place.environment == PRODUCTION and place.current is None:
        own = (each for each in state.candidates.values() if each.model_id == place.model_id)
        fit = (each for each in own if each.ready and not each.is_development and not each.failure)
        asked = next(iter(fit), None)
    if asked is None or not asked.built or asked.failure:
        return
    current = state.candidates.get(place.current) if place.current is not None else None
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


def _advance(state: PromoteState, place: Place, active: PromotionStarted) -> Iterable[Due]:
    why = place.why
    candidate = state.candidates.get(active.deployment_id)
    assert why is not None, "an active promotion has a beginning"
    ids: dict[str, Any] = {
        "model_id": place.model_id,
        "environment": place.environment,
        "promotion_id": active.promotion_id,
    }
    if candidate is None or candidate.failure:
        reason = candidate.failure if candidate else "the deployment is not known"
        yield Due(NOW, FailPromotion(**caused_by(why, NAME, "fail"), **ids, reason=reason))
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
    yield Due(at, FailPromotion(**caused_by(why, NAME, "late"), **ids, reason=reason))


def _release(state: PromoteState, place: Place) -> Iterable[Due]:
    """Holds of this model's deployments that no active promotion needs."""
    active = {p.active.promotion_id for p in state.places.values() if p.active is not None}
    for candidate in state.candidates.values():
        if candidate.model_id == place.model_id and candidate.hold is not None and candidate.hold not in active:
            fields = caused_by(place.why or candidate.why, NAME, "release", candidate.hold)
            release = ReleaseHold(**fields, deployment_id=candidate.deployment_id, promotion_id=candidate.hold)
            yield Due(NOW, release)


def _settle(state: PromoteState, place: Place) -> Iterable[Due]:
    """After a switch, unless somebody has decided otherwise since: settings to the new one, the previous one down."""
    current = state.candidates.get(place.current) if place.current is not None else None
    why = place.autoscaling_why
    if current is not None and place.autoscaling is not None and why is not None:
        newest = max(why, place.why or why, key=lambda each: each.position)
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
    if place.last is not None and place.why is not None and place.last.previous is not None:
        yield from _wind_down(state, place, place.last, place.why)


def _wind_down(state: PromoteState, place: Place, last: PromotionCompleted, why: Cause) -> Iterable[Due]:
    previous = state.candidates.get(last.previous) if last.previous is not None else None
    if previous is None or previous.failure or previous.target == 0:
        return
    if previous.target_position > why.position or _in_use(state, previous.deployment_id):
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


def _in_use(state: PromoteState, deployment_id: DeploymentId) -> bool:
    return any(
        place.current == deployment_id or (place.active is not None and place.active.deployment_id == deployment_id)
        for place in state.places.values()
    )


def due(state: PromoteState) -> Iterable[Due]:
    return tuple(each for dues in state.dues.values() for each in dues)


def _initial(now: datetime) -> PromoteState:
    return PromoteState()


PROMOTE: Reactor[PromoteState] = Reactor(NAME, _initial, evolve, due)
