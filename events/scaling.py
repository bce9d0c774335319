"""How many replicas a deployment should have, and why. One history per deployment, one writer of targets."""

from typing import Literal

import msgspec

from events.base import DeploymentId, Event, PromotionId

Rule = Literal[
    "activation",  # a deployment was built or activated
    "parked request",  # a request waits and there is no replica
    "wake",  # somebody asked for it
    "minimum",  # min_replica was raised
    "maximum",  # max_replica was lowered
    "promotion",  # the candidate of a promotion needs this many
    "quiet",  # no traffic for a whole scale_down_delay
    "replaced",  # another deployment took its place in the environment
    "deactivated",
    "failed",
    "deleted",
]


class AutoscalingSettings(msgspec.Struct, frozen=True, kw_only=True):
    min_replica: int = 0
    max_replica: int = 1
    autoscaling_window_s: int = 60
    scale_down_delay_s: int = 900
    concurrency_target: int = 1
    target_utilization_percent: int = 70
    max_scale_down_rate_percent: int = 50


class Grounds(msgspec.Struct, frozen=True, kw_only=True):
    """Every input that a scale decision used."""

    parked: int = 0
    """Requests waiting for a replica."""
    in_flight: int = 0
    """Requests at replicas."""
    quiet_for_s: float | None = None
    settings: AutoscalingSettings | None = None
    promotion_id: PromotionId | None = None
    note: str = ""


class ScalingConfigured(Event, frozen=True, kw_only=True):
    deployment_id: DeploymentId
    settings: AutoscalingSettings
    source: str
    """`settings` when a person set them, `environment <name>` when they came with a promotion."""


class ReplicaTargetRaised(Event, frozen=True, kw_only=True):
    deployment_id: DeploymentId
    previous: int
    target: int
    rule: Rule
    grounds: Grounds


class ReplicaTargetLowered(Event, frozen=True, kw_only=True):
    deployment_id: DeploymentId
    previous: int
    target: int
    rule: Rule
    grounds: Grounds


class ScaledToZero(Event, frozen=True, kw_only=True):
    deployment_id: DeploymentId
    previous: int
    rule: Rule
    grounds: Grounds


class ReplicasHeld(Event, frozen=True, kw_only=True):
    """A promotion needs this many replicas of its candidate: quiet does not lower the target meanwhile."""

    deployment_id: DeploymentId
    promotion_id: PromotionId
    at_least: int


class ReplicaHoldReleased(Event, frozen=True, kw_only=True):
    deployment_id: DeploymentId
    promotion_id: PromotionId


class CapacityLacking(Event, frozen=True, kw_only=True):
    """No node has room for the next replica. Said once, until the reason changes or a replica is placed."""

    deployment_id: DeploymentId
    reason: str
