"""The arithmetic of a promotion: from its progress and the replicas that are really ready to its next step. Pure.

Three ways, by the settings that it began with: all at once, in equal steps of traffic over time, or replica by replica.
Each may begin with a canary, which waits for a person. Replica by replica with N wanted and steps of d: once r of
the candidate's are ready it gets r/N of the traffic and is to have r+d, and the current deployment gives one for each.
"""

import msgspec

from events.environment import PromotionStarted
from projections.promotion import Progress

RAMP_PERCENT = 10


class Step(msgspec.Struct, frozen=True, kw_only=True):
    percent: int
    ready: int
    candidate_replicas: int
    current_replicas: int
    held: bool = False


def opening(started: PromotionStarted) -> Step | None:
    """What a promotion begins with, unless the candidate is to have all that it needs from the beginning."""
    settings = started.settings
    if started.previous is None:
        return None
    if settings.canary_percent is not None:
        replicas = _part(started.wanted_replicas, settings.canary_percent)
        return Step(percent=0, ready=0, candidate_replicas=replicas, current_replicas=started.current_replicas)
    return _rolling(started, 0) if settings.rolling_deploy else None


def next_step(progress: Progress, ready: int) -> Step | None:
    """None: nothing more is ready than the last step counted on. `ready`: the candidate's."""
    started = progress.started
    settings, wanted = started.settings, started.wanted_replicas
    if not progress.stepped and (first := opening(started)) is not None:
        return first
    if started.previous is None:
        return None
    if settings.canary_percent is not None and not progress.canary_over:
        waits = progress.percent > 0 or ready < progress.candidate_replicas
        return None if waits else _same(progress, percent=settings.canary_percent, ready=ready, held=True)
    if settings.rolling_deploy:
        step = _rolling(started, min(max(ready, progress.ready), wanted))
        return step if step != _same(progress) and step.ready < wanted else None
    if progress.candidate_replicas < wanted:
        return _same(progress, candidate_replicas=wanted)
    if settings.ramp_up_while_promoting and ready >= wanted and progress.percent < 100 - RAMP_PERCENT:
        percent = progress.percent - progress.percent % RAMP_PERCENT + RAMP_PERCENT
        return _same(progress, percent=percent, ready=ready)
    return None


def complete(progress: Progress, ready: int, needed_now: int) -> bool:
    """The candidate can take all traffic. `needed_now`: replicas that the environment uses at this moment."""
    settings, wanted = progress.started.settings, progress.started.wanted_replicas
    if progress.started.previous is None:
        return ready >= wanted
    if settings.canary_percent is not None and not progress.canary_over:
        return False
    if settings.rolling_deploy and not progress.stepped:
        return False
    if settings.ramp_up_while_promoting and not settings.rolling_deploy and progress.percent < 100 - RAMP_PERCENT:
        return False
    return ready >= max(wanted, needed_now)


def in_use(target: int, ready: int) -> int:
    """Replicas that an environment uses, of its current deployment."""
    return max(1, target, ready)


def pause_s(progress: Progress) -> float:
    """For how long a step stands before the next, or the switch."""
    settings = progress.started.settings
    if not progress.percent:
        return 0.0
    if settings.rolling_deploy:
        return float(settings.stabilization_s)
    return settings.ramp_up_duration_s * RAMP_PERCENT / 100 if settings.ramp_up_while_promoting else 0.0


def step_back(progress: Progress, ready: int) -> Step | None:
    """On the way back, as the current deployment's replicas are ready again (`ready`)."""
    whole = progress.current_replicas
    percent = min(progress.percent, 100 - 100 * min(ready, whole) // whole)
    if percent == progress.percent:
        return None
    replicas = _part(progress.started.wanted_replicas, percent) if percent else 0
    return _same(progress, percent=percent, ready=ready, candidate_replicas=replicas)


def _rolling(started: PromotionStarted, ready: int) -> Step:
    settings, wanted, current = started.settings, started.wanted_replicas, started.current_replicas
    by = _part(wanted, settings.max_surge_percent or settings.max_unavailable_percent)
    kept = -(-current * (wanted - ready) // wanted) - (by if settings.max_unavailable_percent else 0)
    return Step(
        percent=max(1, 100 * ready // wanted) if ready else 0,
        ready=ready,
        candidate_replicas=min(wanted, ready + by),
        current_replicas=max(1, kept),
    )


def _part(whole: int, percent: int) -> int:
    """At least one."""
    return max(1, -(-whole * percent // 100))


def _same(progress: Progress, **changes: int | bool) -> Step:
    """As the last step left it, but for the changes."""
    last = Step(
        percent=progress.percent,
        ready=progress.ready,
        candidate_replicas=progress.candidate_replicas,
        current_replicas=progress.current_replicas,
    )
    return msgspec.structs.replace(last, **changes)
