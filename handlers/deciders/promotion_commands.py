"""What is asked of a promotion: by reactors, whose commands are void once it has moved on, and by people."""

from typing import get_args

from events.base import DeploymentId, ModelId, PromotionId
from events.environment import Cleanup, Comparison
from handlers.base import Command


class StartPromotion(Command, frozen=True, kw_only=True):
    model_id: ModelId
    environment: str
    deployment_id: DeploymentId
    is_development: bool
    wanted_replicas: int
    """What the environment needs now."""
    cleanup: Cleanup | None
    """None: as the environment's settings say."""
    deadline_s: int
    """Unless the environment's settings say another."""


class StepPromotion(Command, frozen=True, kw_only=True):
    """The next share of traffic, from replicas that are really ready. Void once the promotion has moved on."""

    model_id: ModelId
    environment: str
    promotion_id: PromotionId
    after: int
    """How many moves the promotion had made when this was worked out."""
    percent: int
    ready: int
    candidate_replicas: int
    current_replicas: int
    held: bool = False


class CompletePromotion(Command, frozen=True, kw_only=True):
    """The candidate has all that it needs."""

    model_id: ModelId
    environment: str
    promotion_id: PromotionId


class RollBackPromotion(Command, frozen=True, kw_only=True):
    """Automatic: the candidate is not what it should be."""

    model_id: ModelId
    environment: str
    promotion_id: PromotionId
    reason: str
    figures: Comparison | None = None


class FinishRollBack(Command, frozen=True, kw_only=True):
    """The current deployment is back to its size, or has had its time."""

    model_id: ModelId
    environment: str
    promotion_id: PromotionId


class SetCanaryWeight(Command, frozen=True, kw_only=True):
    """A person's share of traffic for the candidate, until somebody resumes."""

    model_id: ModelId
    environment: str
    percent: int


class PausePromotion(Command, frozen=True, kw_only=True):
    model_id: ModelId
    environment: str


class ResumePromotion(Command, frozen=True, kw_only=True):
    """Also says that a canary may go on."""

    model_id: ModelId
    environment: str


class CancelPromotion(Command, frozen=True, kw_only=True):
    """`force`: all traffic back at once; else as the current deployment gets its replicas back."""

    model_id: ModelId
    environment: str
    reason: str
    force: bool = False


class RollForward(Command, frozen=True, kw_only=True):
    """All traffic to the candidate at once, whatever the promotion is about."""

    model_id: ModelId
    environment: str
    candidate_ready: int
    """Its replicas that are ready now."""


PromotionCommand = (
    StartPromotion
    | StepPromotion
    | CompletePromotion
    | RollBackPromotion
    | FinishRollBack
    | SetCanaryWeight
    | PausePromotion
    | ResumePromotion
    | CancelPromotion
    | RollForward
)
COMMANDS: tuple[type[PromotionCommand], ...] = get_args(PromotionCommand)
