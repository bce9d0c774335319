"""The arithmetic of autoscaling: what one measurement makes of one target. Used alike by the decider and the reactor.

Up at once and by the whole difference; down in steps of a part of the excess, each after a whole delay below; to zero
after a whole delay without any request; from zero at once, for whoever waits.
"""

import math

import msgspec

from events.scaling import AutoscalingSettings, Grounds, Rule

BURST_SHARE = 10
"""The short window is the long one divided by this."""
_ROUNDING = 1e-4
"""Of a replica: more than the clock's microseconds make of a mean over seconds."""


class Verdict(msgspec.Struct, frozen=True):
    target: int
    rule: Rule
    wanted: int


def need(load: float, settings: AutoscalingSettings) -> int:
    """Replicas for so many requests at once, at the utilization that is aimed at."""
    capacity = settings.concurrency_target * settings.target_utilization_percent
    return max(0, math.ceil(load * 100 / capacity - _ROUNDING))


def need_at_full(load: float, settings: AutoscalingSettings) -> int:
    """Replicas that can just take so many requests, without the headroom.

    Enough for a queue (one request needs one replica), and the measure of a burst: what the headroom takes is none.
    """
    return max(0, math.ceil(load / settings.concurrency_target - _ROUNDING))


def floor_of(settings: AutoscalingSettings, scheduled_min: int) -> int:
    return max(settings.min_replica, scheduled_min)


def verdict(target: int, grounds: Grounds, held: int = 0) -> Verdict | None:
    """None: it stays. `held`: replicas that a promotion holds, below which nothing goes."""
    settings = grounds.settings
    assert settings is not None, "a measurement names the settings that it was made for"
    if target == 0:
        return _from_zero(grounds, settings)
    up = _up(target, grounds, settings, max(settings.max_replica, held))
    return up if up is not None else _down(target, grounds, settings, held)


def _requests(grounds: Grounds) -> int:
    return grounds.parked + grounds.in_flight + grounds.queued


def _from_zero(grounds: Grounds, settings: AutoscalingSettings) -> Verdict | None:
    floor = floor_of(settings, grounds.scheduled_min)
    if grounds.parked or grounds.queued:
        wanted = need_at_full(_requests(grounds), settings)
        return Verdict(min(max(wanted, floor), settings.max_replica), "parked request", wanted)
    if grounds.wake:
        return Verdict(max(1, floor), "wake", 1)
    return Verdict(floor, "schedule", 0) if grounds.scheduled_min else None


def _up(target: int, grounds: Grounds, settings: AutoscalingSettings, ceiling: int) -> Verdict | None:
    """The first rule that asks for the most is named. Both sides of a rolling promotion are one: what one has, the
    other needs less."""
    asked: list[tuple[Rule, int]] = []
    if grounds.window_filled:
        asked.append(("load", need(grounds.mean, settings)))
        if settings.burst and need_at_full(grounds.burst_mean, settings) > target + grounds.other_side:
            asked.append(("burst", need(grounds.burst_mean, settings)))
    if (grounds.parked or grounds.queued) and not grounds.serving:
        asked.append(("parked request", need_at_full(_requests(grounds), settings)))
    asked.append(("schedule", grounds.scheduled_min))
    rule, wanted = max(asked, key=lambda each: each[1])
    to = min(wanted, ceiling) - grounds.other_side
    return Verdict(to, rule, wanted) if to > target else None


def _down(target: int, grounds: Grounds, settings: AutoscalingSettings, held: int) -> Verdict | None:
    if held or not grounds.window_filled:
        return None
    delay_s = settings.scale_down_delay_s
    quiet = grounds.quiet_for_s is not None and grounds.quiet_for_s >= delay_s > 0
    below = grounds.below_for_s is not None and grounds.below_for_s >= delay_s
    if not (quiet or below):
        return None
    wanted = 0 if quiet else lasting_need(grounds, settings)
    least = max(wanted, floor_of(settings, grounds.scheduled_min))
    if least >= target or (not quiet and need(_requests(grounds), settings) >= target):
        return None
    to = target - max(1, (target - least) * settings.max_scale_down_rate_percent // 100)
    return Verdict(to, "staircase" if to else "quiet", wanted)


def lasting_need(grounds: Grounds, settings: AutoscalingSettings) -> int:
    """What a step down leaves alone: else the next burst would raise again what it took."""
    wanted = need(grounds.mean, settings)
    return max(wanted, need_at_full(grounds.burst_mean, settings)) if settings.burst else wanted
