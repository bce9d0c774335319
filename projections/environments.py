"""The environments of every model: what is current, what is being promoted, the settings."""

from datetime import datetime, timedelta

import msgspec

from events.base import DeploymentId, Event, ModelId, Position
from events.codec import Recorded
from events.environment import (
    EnvironmentConfigured,
    EnvironmentCreated,
    EnvironmentDeleted,
    PromotionCancelled,
    PromotionCompleted,
    PromotionFailed,
    PromotionSettings,
    PromotionSettingsSet,
    PromotionStarted,
    RequestLimits,
    RequestLimitsSet,
)
from events.model import DeploymentDeleted, DeploymentPushed, ModelDeleted, ModelRegistered
from events.scaling import AutoscalingSettings
from projections.base import Projection
from projections.promotion import Progress, PromotionEvent, advance

PRODUCTION = "production"


KEPT = timedelta(days=8)
"""For so long it is known who served; logs can be asked for seven days."""


class Tenure(msgspec.Struct, frozen=True):
    """The time of one deployment in an environment: from the beginning of its promotion until traffic leaves it."""

    deployment_id: DeploymentId
    since: datetime
    until: datetime | None = None


class Environment(msgspec.Struct):
    model_id: ModelId
    name: str
    created_at: str
    current: DeploymentId | None = None
    autoscaling: AutoscalingSettings | None = None
    """None until somebody set them: the current deployment then keeps its own."""
    promotion: PromotionSettings = PromotionSettings()
    """For the promotions that begin from now on."""
    progress: Progress | None = None
    """Of the active promotion, or of the last one."""
    last_result: str = ""
    """How the last promotion ended, in one line."""
    position: Position = Position(0)
    limits: RequestLimits = RequestLimits()
    tenures: tuple[Tenure, ...] = ()
    """In the order in which they began."""

    @property
    def active(self) -> PromotionStarted | None:
        return self.progress.started if self.progress is not None and self.progress.active else None


class Environments(msgspec.Struct):
    models: dict[ModelId, dict[str, Environment]] = {}
    deployments: dict[DeploymentId, ModelId] = {}
    """That exist: one that was deleted while its promotion completed is nobody's current."""

    def of(self, model_id: ModelId) -> dict[str, Environment]:
        return self.models.get(model_id, {})

    def current_in(self, model_id: ModelId, deployment_id: DeploymentId) -> str | None:
        """The environment whose current deployment it is (production first)."""
        names = sorted(name for name, e in self.of(model_id).items() if e.current == deployment_id)
        return PRODUCTION if PRODUCTION in names else next(iter(names), None)

    def served_with(self, deployment_id: DeploymentId) -> str | None:
        """The environment that needs this deployment, of whatever model."""
        model_id = self.deployments.get(deployment_id)
        return None if model_id is None else self.served_by(model_id, deployment_id)

    def served_by(self, model_id: ModelId, deployment_id: DeploymentId) -> str | None:
        """The environment that needs it: it is current there, or being promoted to it."""
        places = self.of(model_id).values()
        coming = sorted(e.name for e in places if e.active is not None and e.active.deployment_id == deployment_id)
        return self.current_in(model_id, deployment_id) or next(iter(coming), None)


Changing = EnvironmentConfigured | RequestLimitsSet | PromotionSettingsSet | PromotionEvent


def evolve(environments: Environments, recorded: Recorded) -> Environments:
    event = recorded.event
    match event:
        case ModelRegistered(model_id=model_id):
            at = recorded.meta.at.isoformat()
            environments.models[model_id] = {PRODUCTION: Environment(model_id, PRODUCTION, at)}
        case ModelDeleted(model_id=model_id):
            environments.models.pop(model_id, None)
            gone = [each for each, owner in environments.deployments.items() if owner == model_id]
            for each in gone:
                del environments.deployments[each]
        case DeploymentPushed(model_id=model_id, deployment_id=deployment_id):
            environments.deployments[deployment_id] = model_id
        case EnvironmentCreated():
            if event.model_id not in environments.models:
                return environments  # The model was deleted meanwhile; the promote reactor clears this away.
            own, at = environments.models[event.model_id], recorded.meta.at.isoformat()
            own[event.environment] = Environment(event.model_id, event.environment, at, autoscaling=event.autoscaling)
        case EnvironmentDeleted():
            environments.of(event.model_id).pop(event.environment, None)
        case DeploymentDeleted(model_id=model_id, deployment_id=deployment_id):
            environments.deployments.pop(deployment_id, None)
            for environment in environments.of(model_id).values():
                if environment.current == deployment_id:
                    environment.current = None
        case _ if isinstance(event, Changing):
            environment_or_none = environments.of(event.model_id).get(event.environment)
            if environment_or_none is not None:
                _change(environment_or_none, event)
                environment_or_none.tenures = tenures_after(environment_or_none.tenures, event, recorded.meta.at)
                environment_or_none.position = recorded.position
                if environment_or_none.current not in environments.deployments:
                    environment_or_none.current = None
    return environments


def _change(environment: Environment, event: Changing) -> None:
    match event:
        case EnvironmentConfigured():
            environment.autoscaling = event.autoscaling
        case RequestLimitsSet():
            environment.limits = event.limits
        case PromotionSettingsSet():
            environment.promotion = event.settings
        case _:
            environment.progress = advance(environment.progress, event)
            _end(environment, event)


def tenures_after(tenures: tuple[Tenure, ...], event: Event, at: datetime) -> tuple[Tenure, ...]:
    match event:
        case PromotionStarted():
            kept = (each for each in tenures if each.until is None or each.until > at - KEPT)
            return (*kept, Tenure(event.deployment_id, at))
        case PromotionCompleted():
            return tuple(_ended(each, at) if each.deployment_id != event.deployment_id else each for each in tenures)
        case PromotionFailed() | PromotionCancelled():
            return tuple(_ended(each, at) if each.deployment_id == event.deployment_id else each for each in tenures)
        case _:
            return tenures


def _ended(tenure: Tenure, at: datetime) -> Tenure:
    return tenure if tenure.until is not None else msgspec.structs.replace(tenure, until=at)


def _end(environment: Environment, event: PromotionEvent) -> None:
    match event:
        case PromotionCompleted():
            environment.current = event.deployment_id
            environment.last_result = f"deployment {event.deployment_id} was promoted"
        case PromotionFailed():
            environment.last_result = f"promotion of {event.deployment_id} failed: {event.reason}"
        case PromotionCancelled():
            environment.last_result = f"promotion of {event.deployment_id} was cancelled: {event.reason}"


ENVIRONMENTS: Projection[Environments] = Projection("environments", 5, Environments, Environments, evolve)
