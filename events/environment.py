"""An environment of a model (`production`, …): its settings, and which deployment is current there."""

from typing import Literal

import msgspec

from events.base import DeploymentId, Event, ModelId, PromotionId
from events.scaling import AutoscalingSettings

Cleanup = Literal["SCALE_TO_ZERO", "KEEP", "DEACTIVATE"]


class RequestLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How the gateway handles requests to an environment; None: as its own settings say."""

    park_deadline_s: int | None = None
    """The waiting for a replica or a slot at one."""
    call_deadline_s: int | None = None
    """From the first attempt to the head of the answer."""
    idle_timeout_s: int | None = None
    """A body, an answer or a WebSocket in which nothing moves."""
    total_deadline_s: int | None = None
    """The whole call."""
    prefix_affinity_bytes: int | None = None
    """Of the beginning of a prompt, by which a replica is chosen; 0: off."""


class EnvironmentCreated(Event, frozen=True, kw_only=True):
    model_id: ModelId
    environment: str
    autoscaling: AutoscalingSettings


class EnvironmentConfigured(Event, frozen=True, kw_only=True):
    """The settings that the current deployment has, and a candidate takes when its promotion completes."""

    model_id: ModelId
    environment: str
    autoscaling: AutoscalingSettings


class RequestLimitsSet(Event, frozen=True, kw_only=True):
    """Requests that begin from now on are handled so."""

    model_id: ModelId
    environment: str
    limits: RequestLimits


class PromotionStarted(Event, frozen=True, kw_only=True):
    promotion_id: PromotionId
    model_id: ModelId
    environment: str
    deployment_id: DeploymentId
    previous: DeploymentId | None
    wanted_replicas: int
    """Ready replicas that the candidate must have before traffic moves: what the environment uses now, at least 1."""
    cleanup: Cleanup
    deadline_s: int
    """From the start of the promotion; a candidate that is not ready by then fails."""


class PromotionCompleted(Event, frozen=True, kw_only=True):
    """Traffic of the environment goes to the deployment from this position on."""

    promotion_id: PromotionId
    model_id: ModelId
    environment: str
    deployment_id: DeploymentId
    previous: DeploymentId | None
    cleanup: Cleanup


class PromotionFailed(Event, frozen=True, kw_only=True):
    """The candidate did not get ready. The current deployment was never touched."""

    promotion_id: PromotionId
    model_id: ModelId
    environment: str
    deployment_id: DeploymentId
    reason: str


class PromotionCancelled(Event, frozen=True, kw_only=True):
    promotion_id: PromotionId
    model_id: ModelId
    environment: str
    deployment_id: DeploymentId
    reason: str


class EnvironmentDeleted(Event, frozen=True, kw_only=True):
    model_id: ModelId
    environment: str
