"""Every scale decision follows from the grounds that it carries, by arithmetic of the checker's own.

No raise without grounds; down by half the excess and never before its delay; to zero only after a whole quiet delay.
"""

from fractions import Fraction
from math import ceil, floor

from events.base import DeploymentId, PromotionId
from events.codec import Recorded
from events.scaling import (
    AutoscalingSettings,
    Grounds,
    ReplicaHoldReleased,
    ReplicasHeld,
    ReplicaTargetLowered,
    ReplicaTargetRaised,
    ScaledToZero,
)
from tests.sim.checkers.base import Checker, Violation

Moved = ReplicaTargetRaised | ReplicaTargetLowered | ScaledToZero
NEAR = 1e-4


class DecisionsFollowFromTheirGrounds(Checker):
    def __init__(self) -> None:
        self._targets: dict[DeploymentId, int] = {}
        self._holds: dict[DeploymentId, dict[PromotionId, int]] = {}

    def see(self, recorded: Recorded) -> None:
        match recorded.event:
            case ReplicasHeld() as event:
                self._holds.setdefault(event.deployment_id, {})[event.promotion_id] = event.at_least
            case ReplicaHoldReleased() as event:
                self._holds.get(event.deployment_id, {}).pop(event.promotion_id, None)
            case ReplicaTargetRaised() | ReplicaTargetLowered() | ScaledToZero() as event:
                before = self._targets.get(event.deployment_id, 0)
                after = 0 if isinstance(event, ScaledToZero) else event.target
                self._targets[event.deployment_id] = after
                wrong = "it starts from another target" if before != event.previous else self._wrong(event, after)
                if wrong:
                    raise Violation(f"{recorded.position}: {wrong}: {before} -> {after}, {event}")

    def _wrong(self, event: Moved, after: int) -> str:
        """Empty: nothing."""
        grounds, held = event.grounds, max(self._holds.get(event.deployment_id, {}).values(), default=0)
        match event.rule:
            case "load" | "burst" if not grounds.window_filled:
                return "the window was not full"
            case "burst" if full(grounds) <= event.previous + grounds.other_side:
                return "the headroom took it"
            case "load" | "burst":
                return _raised(after, needed(grounds, by_burst=event.rule == "burst"), grounds, held)
            case "parked request":
                waiting = grounds.parked + grounds.in_flight + grounds.queued
                least = max(ceil(Fraction(waiting, _settings(grounds).concurrency_target)), _floor(grounds))
                return _raised(after, least, grounds, held) if grounds.parked + grounds.queued else "nobody waited"
            case "wake":
                return "" if grounds.wake else "nobody asked"
            case "staircase" | "quiet":
                return "a promotion held it" if held else _lowered(event.previous, after, grounds)
        return ""


def _settings(grounds: Grounds) -> AutoscalingSettings:
    assert grounds.settings is not None, "a measurement names its settings"
    return grounds.settings


def _floor(grounds: Grounds) -> int:
    return max(_settings(grounds).min_replica, grounds.scheduled_min)


def needed(grounds: Grounds, *, by_burst: bool) -> int:
    settings = _settings(grounds)
    one = Fraction(settings.concurrency_target * settings.target_utilization_percent, 100)
    return max(0, ceil(Fraction(grounds.burst_mean if by_burst else grounds.mean) / one - Fraction(NEAR)))


def full(grounds: Grounds) -> int:
    """Replicas that the short window fills to the last slot."""
    return max(0, ceil(Fraction(grounds.burst_mean) / _settings(grounds).concurrency_target - Fraction(NEAR)))


def _raised(after: int, least: int, grounds: Grounds, held: int) -> str:
    allowed = min(least, max(_settings(grounds).max_replica, held)) - grounds.other_side
    return "" if after == allowed else f"its grounds call for {allowed}"


def _lowered(before: int, after: int, grounds: Grounds) -> str:
    settings = _settings(grounds)
    quiet = grounds.quiet_for_s is not None and grounds.quiet_for_s >= settings.scale_down_delay_s > 0
    below = grounds.below_for_s is not None and grounds.below_for_s >= settings.scale_down_delay_s
    if not (quiet or below):
        return "its delay was not over"
    if after == 0 and (grounds.parked or grounds.in_flight or grounds.queued):
        return "there were requests"
    wanted = 0 if quiet else max(needed(grounds, by_burst=False), full(grounds) if settings.burst else 0)
    excess = before - max(wanted, _floor(grounds))
    step = max(1, floor(Fraction(excess * settings.max_scale_down_rate_percent, 100)))
    return "" if excess > 0 and after == before - step else f"its excess was {excess}"
