"""Counts of requests that are over: plain numbers, added up as requests end, turned into metrics when somebody asks.

One series for each (deployment, environment, class of status), never more than the routing table has. What the table
does not know is counted together, so no caller can make a label.
"""

from bisect import bisect_left
from collections.abc import Container
from dataclasses import dataclass

import msgspec

from events.base import DeploymentId, ModelId
from gateway.insight.trip import Trip

SECONDS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0,
    2.5, 5.0, 7.5, 10.0, 30.0, 60.0, 300.0, 1200.0,
)  # fmt: skip
"""OpenTelemetry's bounds for HTTP durations, and some for quick proxies and slow models."""
BYTES = (256, 1024, 4096, 65536, 1048576, 16777216, 104857600)


@dataclass(slots=True)
class Histogram:
    """How many were up to each bound, and beyond the last."""

    counts: list[int]
    sum: float = 0.0


class Series(msgspec.Struct):
    model_id: str
    deployment_id: str
    environment: str
    status_class: str
    latency: Histogram
    """From the head to the last byte of the answer."""
    first_byte: Histogram
    parked: Histogram
    """Of those only that waited for a replica."""
    received: Histogram
    sent: Histogram


Key = tuple[DeploymentId | None, str, int]


class Tallies:
    def __init__(self) -> None:
        self.series: dict[Key, Series] = {}

    def add(self, trip: Trip) -> None:
        deployment_id, target = trip.deployment_id, trip.target
        environment = target.name if target.by == "environment" and deployment_id is not None else ""
        key = (deployment_id, environment, trip.status // 100)
        series = self.series.get(key)
        if series is None:
            series = self.series[key] = _empty(key, target.model_id)
        # Every request passes here, so nothing is called that can be written out.
        began, ended = trip.began, trip.ended
        spent, histogram = ended - began, series.latency
        place = bisect_left(SECONDS, spent)
        histogram.counts[place] += 1
        histogram.sum += spent
        if (at := trip.first_byte) is not None:
            if at != ended:  # Most answers come in one piece.
                spent = at - began
                place = bisect_left(SECONDS, spent)
            histogram = series.first_byte
            histogram.counts[place] += 1
            histogram.sum += spent
        if spent := trip.parked_s:
            histogram = series.parked
            histogram.counts[bisect_left(SECONDS, spent)] += 1
            histogram.sum += spent
        size, histogram = trip.received_bytes, series.received
        histogram.counts[bisect_left(BYTES, size)] += 1
        histogram.sum += size
        size, histogram = trip.sent_bytes, series.sent
        histogram.counts[bisect_left(BYTES, size)] += 1
        histogram.sum += size

    def refused(self, status: int) -> None:
        """Before it was known which deployment is meant."""
        key: Key = (None, "", status // 100)
        series = self.series.get(key)
        if series is None:
            series = self.series[key] = _empty(key, ModelId(""))
        series.latency.counts[0] += 1

    def keep(self, deployments: Container[DeploymentId]) -> None:
        """Forgets deployments that are deleted."""
        for key in [each for each in self.series if each[0] is not None and each[0] not in deployments]:
            del self.series[key]


def _empty(key: Key, model_id: ModelId) -> Series:
    deployment_id, environment, status_class = key
    seconds, octets = len(SECONDS) + 1, len(BYTES) + 1
    return Series(
        model_id if deployment_id is not None else "",
        deployment_id or "",
        environment,
        f"{status_class}xx",
        Histogram([0] * seconds),
        Histogram([0] * seconds),
        Histogram([0] * seconds),
        Histogram([0] * octets),
        Histogram([0] * octets),
    )
