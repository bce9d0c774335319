"""Durations in places of a scale on which each is 5 % longer than the one before: counts of several workers add up.

A percentile is then known within that 5 %, however many workers counted.
"""

import math
from collections.abc import Iterable

import msgspec

_SHORTEST_S, _GROWTH = 0.0001, 1.05
_STEP = math.log(_GROWTH)


class Durations(msgspec.Struct, frozen=True, array_like=True):
    """How many answers took about so long."""

    place: int
    count: int


def place_of(seconds: float) -> int:
    return 0 if seconds <= _SHORTEST_S else math.ceil(math.log(seconds / _SHORTEST_S) / _STEP)


def seconds_of(place: int) -> float:
    """The longest that falls into it."""
    return _SHORTEST_S * math.exp(place * _STEP)


def percentile_s(durations: Iterable[Durations], percent: int) -> float | None:
    """None: of none."""
    counts: dict[int, int] = {}
    for each in durations:
        counts[each.place] = counts.get(each.place, 0) + each.count
    left = math.ceil(sum(counts.values()) * percent / 100)
    for place in sorted(counts):
        left -= counts[place]
        if left <= 0:
            return seconds_of(place)
    return None
