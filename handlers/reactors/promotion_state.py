"""What promotions look at, folded: each model's environments, deployments, and who asked for what."""

from datetime import datetime

import msgspec

from events.base import DeploymentId, ModelId, Position, PromotionId, ReplicaId
from events.build import BuildFailed, BuildStopped, BuildSucceeded
from events.codec import Recorded
from events.environment import (
    Cleanup,
    EnvironmentConfigured,
    EnvironmentCreated,
    EnvironmentDeleted,
    PromotionCompleted,
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
from handlers.base import NOW, Cause, cause
from handlers.deciders.environment import PRODUCTION
from projections.promotion import Progress, PromotionEvent, advance

_NOBODY = DeploymentId("")
BY_LOAD = ("load", "burst", "staircase")


class Candidate(msgspec.Struct):
    """What a promotion needs to know of a deployment."""

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
    """Of the event that last changed it for another reason than its load."""
    settings_position: Position = Position(0)
    holds: dict[PromotionId, int] = {}


class Place(msgspec.Struct):
    """One environment."""

    model_id: ModelId
    environment: str
    current: DeploymentId | None = None
    autoscaling: AutoscalingSettings | None = None
    autoscaling_why: Cause | None = None
    progress: Progress | None = None
    """Of the active promotion, or of the last one."""
    moved_at: datetime = NOW
    """When it last moved."""
    last: PromotionCompleted | None = None
    why: Cause | None = None
    """The event that last changed the promotion."""
    switched: Cause | None = None
    """The last completion."""
    exists: bool = False
    """It was created; production always is there."""
    orphaned: Cause | None = None
    """Its model is gone."""
    asked: DeploymentId | None = None
    asked_cleanup: Cleanup | None = None

    @property
    def active(self) -> Progress | None:
        return self.progress if self.progress is not None and self.progress.active else None


class Family(msgspec.Struct):
    """A model's environments and deployments: what one promotion may look at."""

    model_id: ModelId
    registered: bool = False
    places: dict[str, Place] = {}
    candidates: dict[DeploymentId, Candidate] = {}

    def place(self, environment: str) -> Place:
        return self.places.setdefault(environment, Place(self.model_id, environment))

    def find(self, deployment_id: DeploymentId | None) -> Candidate | None:
        return self.candidates.get(deployment_id) if deployment_id is not None else None


class Families(msgspec.Struct):
    by_model: dict[ModelId, Family] = {}
    model_of: dict[DeploymentId, ModelId] = {}


def fold_family(families: Families, recorded: Recorded) -> Family | None:
    """Folds the event; gives the family that it changed, if it changed one in anything that a promotion looks at."""
    event = recorded.event
    model_id = getattr(event, "model_id", None) or families.model_of.get(getattr(event, "deployment_id", _NOBODY))
    if model_id is None:
        return None
    family = families.by_model.get(model_id)
    if family is None:
        family = families.by_model[model_id] = Family(model_id)
    match event:
        case DeploymentPushed():
            families.model_of[event.deployment_id] = model_id
            _push(family, event, recorded)
        case _ if isinstance(event, EnvironmentCreated | EnvironmentConfigured | EnvironmentDeleted | PromotionEvent):
            _change_place(family, family.place(event.environment), recorded)
        case ModelRegistered():
            family.registered = True
        case ModelDeleted():
            _delete_model(family, cause(recorded))
        case _:
            candidate = family.find(getattr(event, "deployment_id", None))
            if candidate is None or not _change_candidate(family, candidate, recorded):
                return None
    return family


def _push(family: Family, event: DeploymentPushed, recorded: Recorded) -> None:
    family.candidates[event.deployment_id] = Candidate(
        event.deployment_id, event.is_development, event.deploy_timeout_s, cause(recorded)
    )
    family.place(PRODUCTION)
    if event.environment is not None:
        place = family.place(event.environment)
        place.asked = event.deployment_id
        place.asked_cleanup = None if event.scale_down_previous else "KEEP"


def _delete_model(family: Family, why: Cause) -> None:
    """Its deployments can serve nothing any more; a model of the same name begins anew."""
    family.registered = False
    for candidate in family.candidates.values():
        candidate.failure, candidate.gone = "the model was deleted", True
    for place in family.places.values():
        place.current = place.autoscaling = place.autoscaling_why = place.last = place.asked = None
        place.orphaned = why if place.exists else None


def _change_place(family: Family, place: Place, recorded: Recorded) -> None:
    event = recorded.event
    match event:
        case EnvironmentCreated() | EnvironmentConfigured():
            if isinstance(event, EnvironmentCreated):
                place.exists = True
                place.orphaned = None if family.registered else cause(recorded)
            place.autoscaling, place.autoscaling_why = event.autoscaling, cause(recorded)
        case EnvironmentDeleted():
            del family.places[place.environment]
        case _ if isinstance(event, PromotionEvent):
            place.progress = advance(place.progress, event)
            place.why, place.moved_at = cause(recorded), recorded.meta.at
            _move(family, place, event, place.why)


def _move(family: Family, place: Place, event: PromotionEvent, why: Cause) -> None:
    match event:
        case PromotionStarted():
            if place.asked == event.deployment_id:
                place.asked = None
        case PromotionCompleted():
            place.current, place.last, place.switched = event.deployment_id, event, why
            promoted = family.find(event.deployment_id)
            if promoted is None or promoted.gone:  # Deleted while the switch was on its way.
                place.current = None


def _change_candidate(family: Family, candidate: Candidate, recorded: Recorded) -> bool:
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
            for place in family.places.values():
                if place.current == candidate.deployment_id:
                    place.current = None
                if place.asked == candidate.deployment_id:
                    place.asked = None
        case ReplicaReady() as event:
            candidate.ready.add(event.replica_id)
        case ReplicaUnready() | ReplicaDraining() | ReplicaStopped() | ReplicaFailed() | ReplicaLost() as event:
            candidate.ready.discard(event.replica_id)
        case ReplicaTargetRaised() | ReplicaTargetLowered() as event:
            candidate.target = event.target
            if event.rule not in BY_LOAD:
                candidate.target_position = recorded.position
        case ScaledToZero():
            candidate.target, candidate.target_position = 0, recorded.position
        case ScalingConfigured():
            candidate.settings_position = recorded.position
        case ReplicasHeld() as event:
            candidate.holds[event.promotion_id] = event.at_least
        case ReplicaHoldReleased() as event:
            candidate.holds.pop(event.promotion_id, None)
        case _:
            return False
    return True
