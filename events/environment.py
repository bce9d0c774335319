"""An environment of a model (`production`, …): its settings, and which deployment is current there."""

from typing import Literal

import msgspec

from events.base import DeploymentId, Event, ModelId, Position, PromotionId
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


class PromotionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a deployment becomes current. A promotion goes on as it began: changes are for the next one."""

    rolling_deploy: bool = False
    """Replica by replica, traffic following; else all at once when the candidate has all that it needs."""
    max_surge_percent: int = 10
    """A rolling one has so much more than it needs, for each step. Exactly one of this and the next is not zero."""
    max_unavailable_percent: int = 0
    """A rolling one has so much less, for each step."""
    stabilization_s: int = 0
    """Between two steps of a rolling one."""
    replica_overhead_percent: int = 0
    """A rolling one brings up so many more than are needed at its beginning."""
    ramp_up_while_promoting: bool = False
    """Traffic moves in ten equal steps over the next; a rolling one needs none of it."""
    ramp_up_duration_s: int = 600
    cleanup: Cleanup = "SCALE_TO_ZERO"
    redeploy_on_promotion: bool = False
    """What is promoted is a copy of the deployment, so that its code learns of the environment."""
    ready_deadline_s: int | None = None
    """From the beginning, or the last step, to the readiness that the next calls for; None: as the push said."""
    rollback_on_not_ready: bool = True
    """Whether a candidate that misses that deadline is given up; else it waits for a person."""
    rollback_error_rate_percent: float | None = None
    """The candidate's share of answers 5xx may be so many percentage points above the current deployment's."""
    rollback_p95_ratio: float | None = None
    """The candidate's 95th percentile of durations may be so many times that of the current deployment."""
    canary_percent: int | None = None
    """The candidate gets so much of the traffic first, and the promotion waits until a person says to go on."""

    @property
    def compares(self) -> bool:
        return self.rollback_error_rate_percent is not None or self.rollback_p95_ratio is not None


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What the answers of one deployment were like."""

    requests: int
    errors: int
    """5xx, and attempts that failed though another replica answered in the end."""
    p95_s: float | None
    """Without the waiting for a replica; None: nothing was answered."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Both measured over the same time."""

    over_s: float
    candidate: Figures
    current: Figures


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


class PromotionSettingsSet(Event, frozen=True, kw_only=True):
    """Promotions that begin from now on go so."""

    model_id: ModelId
    environment: str
    settings: PromotionSettings


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
    """From the start of the promotion, or its last step; a candidate that is not ready by then fails."""
    settings: PromotionSettings = PromotionSettings()
    """That the environment had when it began."""
    current_replicas: int = 1
    """Of the current deployment that the environment needed then, at least 1."""


class PromotionStepped(Event, frozen=True, kw_only=True):
    """From this position on the candidate gets this share of the environment's traffic."""

    promotion_id: PromotionId
    model_id: ModelId
    environment: str
    deployment_id: DeploymentId
    percent: int
    ready: int
    """Replicas that were ready and that the share counts on: the candidate's, or the current deployment's on the way
    back."""
    candidate_replicas: int
    """To have from now on, or more where the load says so."""
    current_replicas: int
    """To have from now on, or more where the load says so."""
    held: bool = False
    """It stays so until a person says to go on."""


class PromotionPaused(Event, frozen=True, kw_only=True):
    """Everything stays as the last step left it; autoscaling goes on."""

    promotion_id: PromotionId
    model_id: ModelId
    environment: str
    deployment_id: DeploymentId


class PromotionResumed(Event, frozen=True, kw_only=True):
    promotion_id: PromotionId
    model_id: ModelId
    environment: str
    deployment_id: DeploymentId


class PromotionRolledBack(Event, frozen=True, kw_only=True):
    """The promotion goes back: traffic first, then the candidate's replicas. It ends with `outcome`."""

    promotion_id: PromotionId
    model_id: ModelId
    environment: str
    deployment_id: DeploymentId
    outcome: Literal["FAILED", "CANCELED"]
    reason: str
    figures: Comparison | None
    """That it was decided on, where figures were the reason."""
    percent: int
    """Of the traffic that the candidate keeps until the current deployment is back to its size."""


class PromotionCompleted(Event, frozen=True, kw_only=True):
    """Traffic of the environment goes to the deployment from this position on."""

    promotion_id: PromotionId
    model_id: ModelId
    environment: str
    deployment_id: DeploymentId
    previous: DeploymentId | None
    cleanup: Cleanup


class PromotionFailed(Event, frozen=True, kw_only=True):
    """All traffic is the current deployment's again, or still."""

    promotion_id: PromotionId
    model_id: ModelId
    environment: str
    deployment_id: DeploymentId
    reason: str


class PromotionCancelled(Event, frozen=True, kw_only=True):
    """A person ended it. All traffic is the current deployment's again, or still."""

    promotion_id: PromotionId
    model_id: ModelId
    environment: str
    deployment_id: DeploymentId
    reason: str


class EnvironmentDeleted(Event, frozen=True, kw_only=True):
    model_id: ModelId
    environment: str


class EnvironmentReverted(Event, frozen=True, kw_only=True):
    """The settings, and the current deployment, are to be again what they were after `to_position`.

    Where another deployment is current now, its promotion begins in the same decision, and the settings are set in the
    one in which it completes; else they are set in this one.
    """

    model_id: ModelId
    environment: str
    to_position: Position
    deployment_id: DeploymentId
    """That was current then."""
    autoscaling: AutoscalingSettings | None = None
    promotion: PromotionSettings | None = None
    limits: RequestLimits | None = None
    """None: written by a version that set the settings by events of their own, at once."""
