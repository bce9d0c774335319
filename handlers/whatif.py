"""What other settings would have done: recorded load, replayed through the autoscaler that runs in life. Pure.

The load is taken as it was: callers who would have waited longer ask no less. Replicas take the time to start that they
took at p50. Load that comes at no ready replica counts as parked.
"""

import math
from itertools import islice

import msgspec

from events.scaling import AutoscalingSettings
from events.signals import Load
from events.signals.load_history import SPAN_S, Moment
from handlers.rehearsal import DEPLOYMENT, Change, Rehearsal, Standing, time_of

WORKER = "recorded"
START_S = 10.0
"""A replica's start where none has been seen."""


class Outcome(msgspec.Struct, frozen=True):
    """What one side comes to."""

    settings: AutoscalingSettings
    replica_hours: float
    """Of replicas that were to run, starting ones included."""
    peak: int
    cold_starts: int
    """Raises from zero."""
    parked_s: float
    """Requests times seconds without a ready replica."""
    above_capacity_s: float
    """Seconds in which the load was more than the ready replicas' concurrency targets together."""
    changes: tuple[Change, ...]
    standings: tuple[Standing, ...]


class Measure(msgspec.Struct, frozen=True):
    name: str
    one: float
    other: float
    form: str = ".0f"

    def shown(self) -> tuple[str, str, str]:
        """Both, and the way from the one to the other."""
        return (
            format(self.one, self.form),
            format(self.other, self.form),
            format(self.other - self.one, f"+{self.form}"),
        )


def rehearse(
    settings: AutoscalingSettings, loads: list[Moment], since: float, until: float, replicas: int, start_s: float
) -> Outcome:
    """`replicas`: at the beginning."""
    rehearsal = Rehearsal(settings, since, replicas, start_s)
    number = 0

    def tell(in_flight: int, parked: int, mean: float, span_s: float) -> None:
        nonlocal number
        number += 1
        rehearsal.tell(
            Load(
                worker=WORKER,
                number=number,
                deployment_id=DEPLOYMENT,
                in_flight=in_flight,
                parked=parked,
                mean=mean,
                span_s=span_s,
                at=time_of(rehearsal.now),
            )
        )

    for ended_at, record in loads:
        rehearsal.advance(max(rehearsal.now, ended_at - SPAN_S))
        level = math.ceil(record.mean)
        if rehearsal.ready == 0 and level:
            tell(0, level, 0.0, 0.0)
        for second in range(1, int(SPAN_S) + 1):
            rehearsal.advance(ended_at - SPAN_S + second)
            now = record.last if second == SPAN_S else level
            idle = rehearsal.ready == 0
            tell(0 if idle else now, now if idle else 0, record.mean, 1.0)
    rehearsal.advance(max(rehearsal.now, until))
    return _outcome(settings, rehearsal, loads, since, until)


def _outcome(
    settings: AutoscalingSettings, rehearsal: Rehearsal, loads: list[Moment], since: float, until: float
) -> Outcome:
    standings = rehearsal.standings
    ends = [each.at for each in standings[1:]] + [until]
    stretches = list(zip(standings, ends, strict=True))
    parked_s = above_s = 0.0
    first = 0
    for ended_at, record in loads:
        while stretches[first][1] <= ended_at - SPAN_S and first < len(stretches) - 1:
            first += 1
        for standing, end in islice(stretches, first, None):
            if standing.at >= ended_at:
                break
            overlap_s = max(0.0, min(end, ended_at) - max(standing.at, ended_at - SPAN_S))
            parked_s += record.mean * overlap_s if standing.ready == 0 else 0.0
            above_s += overlap_s if record.mean > standing.ready * settings.concurrency_target else 0.0
    return Outcome(
        settings,
        sum(each.target * max(0.0, end - max(each.at, since)) for each, end in stretches) / 3600,
        max(each.target for each in standings),
        sum(1 for each in rehearsal.changes if each.before == 0),
        parked_s,
        above_s,
        tuple(rehearsal.changes),
        tuple(standings),
    )


def measures(one: Outcome, other: Outcome) -> tuple[Measure, ...]:
    """What people compare two sides by."""
    return (
        Measure("replica-hours", one.replica_hours, other.replica_hours, ".2f"),
        Measure("most replicas", one.peak, other.peak),
        Measure("cold starts", one.cold_starts, other.cold_starts),
        Measure("parked, request-seconds", one.parked_s, other.parked_s),
        Measure("above capacity, seconds", one.above_capacity_s, other.above_capacity_s),
        Measure("changes of target", len(one.changes), len(other.changes)),
    )
