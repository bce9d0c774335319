"""How many replicas a deployment should have, and why. One history per deployment, one writer of targets."""

from datetime import datetime
from typing import Literal

import msgspec

from events.base import ORIGIN, DeploymentId, Event, Position, PromotionId

Rule = Literal[
    "activation",  # a deployment was built or activated
    "parked request",  # a request waits, parked or in its queue, and there is no replica
    "wake",  # somebody asked for it
    "load",  # the mean over the window needs more
    "burst",  # the mean over a tenth of the window is more than the replicas can take at once
    "schedule",  # a scheduled minimum is in force
    "staircase",  # the load needed fewer for a whole scale_down_delay
    "minimum",  # min_replica was raised
    "maximum",  # max_replica was lowered
    "promotion",  # the candidate of a promotion needs this many
    "quiet",  # no traffic for a whole scale_down_delay
    "replaced",  # another deployment took its place in the environment
    "not promoted",  # its promotion was cancelled or failed
    "deactivated",
    "failed",
    "deleted",
]


class ScheduledMinimum(msgspec.Struct, frozen=True, kw_only=True):
    """From every moment that `cron` names, for so long, at least so many replicas."""

    cron: str
    """Five fields: minute, hour, day of the month, month, day of the week."""
    timezone: str = "UTC"
    for_s: int
    min_replica: int


class AutoscalingSettings(msgspec.Struct, frozen=True, kw_only=True):
    min_replica: int = 0
    max_replica: int = 1
    autoscaling_window_s: int = 60
    scale_down_delay_s: int = 900
    concurrency_target: int = 1
    target_utilization_percent: int = 70
    max_scale_down_rate_percent: int = 50
    burst: bool = True
    """A tenth of the window may raise, and never lowers."""
    schedule: tuple[ScheduledMinimum, ...] = ()


class Grounds(msgspec.Struct, frozen=True, kw_only=True):
    """Every input that a scale decision used: the same grounds and target always give the same decision."""

    parked: int = 0
    """Requests waiting for a replica."""
    in_flight: int = 0
    """Requests at replicas."""
    queued: int = 0
    """Asynchronous requests waiting in their queue."""
    mean: float = 0.0
    """Of all of them, over the window and weighted by time."""
    burst_mean: float = 0.0
    """The same over a tenth of the window."""
    window_filled: bool = False
    """The load of the whole window is known. While it is not, only waiting requests raise, and nothing lowers."""
    serving: bool = False
    """A replica has been ready since the target left zero."""
    other_side: int = 0
    """In those of the current deployment of a rolling promotion: replicas of the candidate that take their part of
    the load. The means are then of the load of both."""
    wake: bool = False
    below_for_s: float | None = None
    """How long the load has needed fewer replicas than the target, since the last change of target at most."""
    quiet_for_s: float | None = None
    """How long there has been no request at all, since the last change of target at most."""
    scheduled_min: int = 0
    wanted: int | None = None
    """Replicas that the load needs; the target may go there in steps."""
    settings: AutoscalingSettings | None = None
    settings_position: Position = ORIGIN
    """Of the event that set them; 0: they are the defaults."""
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


class MinimumScheduled(Event, frozen=True, kw_only=True):
    """From now until then the schedule asks for at least this many replicas (0: for none)."""

    deployment_id: DeploymentId
    min_replica: int
    until: datetime
