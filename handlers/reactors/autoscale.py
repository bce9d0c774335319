"""Traffic to targets: measures each deployment's load and asks for another target where the rule calls for one.

Load is heard, never recorded; only the decision is, with its grounds. What this process has not heard since it began is
not known: until the window is full again only a request that waits raises, and nothing lowers. A deployment is looked
at when something about it changed and when a time comes that its last look named, so the idle cost nothing.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from heapq import heappop, heappush
from math import ceil
from typing import Any

import msgspec

from events.base import Actor, CommandId, CorrelationId, derive
from events.scaling import Grounds
from handlers.base import NOW, Command, Due, Reactor
from handlers.deciders.scaling import ApplySchedule, ScaleByLoad
from handlers.reactors.autoscale_state import LONG_AGO, AutoscaleState, Scale, evolve, hear
from handlers.scaling_rule import BURST_SHARE, floor_of, lasting_need, verdict

NAME = "autoscale"
STARTING_S = 1800.0
"""While no replica has been ready since the target left zero, quiet is not yet quiet for so much longer."""
AGAIN_S = 2.0
"""What was asked for and has not happened is asked for again after this."""
_ACTOR = Actor(f"reactor:{NAME}", "internal")


def ripe(state: AutoscaleState, now: datetime) -> tuple[list[Due], datetime | None]:
    """The commands that are called for now, and when to look again if nothing happens."""
    state.latest = at = now.timestamp()
    looked_at, state.fresh = state.fresh, {}
    while state.timers and state.timers[0][0] <= at:
        when, deployment_id = heappop(state.timers)
        scale = state.scales.get(deployment_id)
        if scale is not None and scale.timer == when:
            scale.timer = None
            looked_at[deployment_id] = None
    dues = []
    for deployment_id in looked_at:
        scale = state.scales[deployment_id]
        command, again = _look(state, scale, at)
        if command is not None:
            dues.append(Due(NOW, command))
            again = at + AGAIN_S
        if again is not None and (scale.timer is None or again < scale.timer):
            scale.timer = ceil(again * 1000) / 1000
            heappush(state.timers, (scale.timer, deployment_id))
    next_at = datetime.fromtimestamp(state.timers[0][0], UTC) if state.timers else None
    return dues, next_at


def _look(state: AutoscaleState, scale: Scale, now: float) -> tuple[Command | None, float | None]:
    """What is called for, or when it may be."""
    if not scale.able:
        return None, None
    schedule_at = _schedule_at(scale)
    if schedule_at is not None and schedule_at <= now:
        return ApplySchedule(**_ids(scale, "schedule", schedule_at), deployment_id=scale.deployment_id), None
    scale.load.expire(now)
    # Who waited while it went to zero may have been led elsewhere, by a promotion.
    if scale.target == 0 and not (scale.wake or scale.load.waiting_since(scale.zero_position)):
        return None, schedule_at
    if scale.target and scale.current in state.scales:  # The promotion says how many, and the current one has the load.
        return None, schedule_at
    grounds, quiet_from = _measure(state, scale, now)
    found = verdict(scale.target, grounds, scale.held)
    if found is not None:
        ids = _ids(scale, found.rule, found.target)
        command = ScaleByLoad(**ids, deployment_id=scale.deployment_id, target=scale.target, grounds=grounds)
        return command, None
    times = [schedule_at, scale.load.silent_from(), *_lowering_times(state, scale, grounds, quiet_from, now)]
    return None, min((each for each in times if each is not None and each > now), default=None)


def _schedule_at(scale: Scale) -> float | None:
    if not scale.settings.schedule or (scale.target == 0 and not scale.resting):
        return None
    return scale.scheduled.until.timestamp() if scale.scheduled is not None else LONG_AGO


def _filled_at(state: AutoscaleState, scale: Scale) -> float:
    heard_from = state.since if scale.born_at <= state.since else LONG_AGO
    return max(scale.known_from, heard_from) + scale.settings.autoscaling_window_s


def _measure(state: AutoscaleState, scale: Scale, now: float) -> tuple[Grounds, float]:
    """The grounds, and the moment since when it has been quiet."""
    settings, load = scale.settings, scale.load
    mean, burst_mean = _means(scale, scale, now)
    in_flight, parked, queued = load.in_flight(), load.parked(), load.queued()
    last_traffic_at = now if in_flight or parked or queued else load.last_traffic_at
    quiet_from = max(last_traffic_at, scale.changed_at, scale.ready_at, state.since)
    if not scale.serving:
        quiet_from += STARTING_S
    grounds = Grounds(
        parked=parked,
        in_flight=in_flight,
        queued=queued,
        mean=mean,
        burst_mean=burst_mean,
        window_filled=now >= _filled_at(state, scale),
        serving=scale.serving,
        wake=scale.wake and scale.target == 0,
        quiet_for_s=max(0.0, now - quiet_from),
        scheduled_min=scale.scheduled.min_replica if scale.scheduled is not None else 0,
        settings=settings,
        settings_position=scale.settings_position,
    )
    candidate = state.scales.get(scale.candidate) if scale.candidate is not None else None
    if candidate is not None and scale.target:  # From zero it is raised for whoever waits there.
        grounds = _with_candidate(grounds, scale, candidate, now)
    low = grounds.window_filled and scale.serving and lasting_need(grounds, settings) < scale.target
    if not low:
        scale.below_since = None
        return grounds, quiet_from
    if scale.below_since is None:
        scale.below_since = now
    below_for_s = now - max(scale.below_since, scale.changed_at)
    return msgspec.structs.replace(grounds, below_for_s=max(0.0, below_for_s)), quiet_from


def _means(of: Scale, scale: Scale, now: float) -> tuple[float, float]:
    """The load of one, over the windows of another."""
    window_s = float(scale.settings.autoscaling_window_s)
    return of.load.means(now, window_s, window_s / BURST_SHARE)


def _with_candidate(grounds: Grounds, scale: Scale, candidate: Scale, now: float) -> Grounds:
    candidate.load.expire(now)
    mean, burst_mean = _means(candidate, scale, now)
    return msgspec.structs.replace(
        grounds,
        mean=grounds.mean + mean,
        burst_mean=grounds.burst_mean + burst_mean,
        other_side=scale.other_side,
    )


def _lowering_times(
    state: AutoscaleState, scale: Scale, grounds: Grounds, quiet_from: float, now: float
) -> Iterable[float]:
    """When the target may fall although nothing more is heard."""
    settings = scale.settings
    if scale.held or scale.target <= floor_of(settings, grounds.scheduled_min):
        return
    yield _filled_at(state, scale)
    yield quiet_from + settings.scale_down_delay_s
    if scale.below_since is not None:
        yield max(scale.below_since, scale.changed_at) + settings.scale_down_delay_s
    if grounds.mean > 0 and scale.load.silent_from() is None:  # It falls by itself as time goes on.
        yield now + settings.autoscaling_window_s / 60


def _ids(scale: Scale, *label: str | float) -> dict[str, Any]:
    derived = derive(NAME, *map(str, label), scale.deployment_id, scale.position, length=24)
    return {"id": CommandId(derived), "actor": _ACTOR, "correlation_id": CorrelationId(derived)}


def _initial(now: datetime) -> AutoscaleState:
    return AutoscaleState(now.timestamp(), now.timestamp())


AUTOSCALE: Reactor[AutoscaleState] = Reactor(NAME, _initial, evolve, hear=hear, ripe=ripe)
