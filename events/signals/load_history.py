"""How busy deployments were, of late: ten-second means that a short-lived store keeps. Telemetry, not history.

Losing some makes a look back less exact and decides nothing. `causeway whatif` reads it.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from events.base import DeploymentId

SPAN_S = 10.0
KEPT_S = 14 * 24 * 3600.0


class LoadRecord(msgspec.Struct, frozen=True, array_like=True):
    """One deployment over one span, all gateway workers together."""

    deployment_id: DeploymentId
    mean: float
    """Requests at replicas and waiting, asynchronous ones too, weighted by time."""
    peak: int
    parked_peak: int
    last: int
    """Requests at replicas and waiting at its end."""


class LoadSpan(msgspec.Struct, frozen=True, array_like=True):
    """What one batch holds: every deployment that was not idle in the span before `ended_at` (seconds, UTC)."""

    ended_at: float
    records: tuple[LoadRecord, ...]


Moment = tuple[float, LoadRecord]
"""When the span ended, and one deployment's part of it."""


class LoadHistory(Protocol):
    async def keep(self, span: LoadSpan) -> None:
        """Once; a second batch for the same moment (of another autoscaler) changes nothing. Raises LoadsUnavailable."""
        ...

    async def read(self, deployment_id: DeploymentId, since: float, until: float) -> list[Moment]:
        """Spans that end after `since` and not after `until`, in order. Raises LoadsUnavailable."""
        ...


class LoadsUnavailable(Exception):
    """The store does not answer."""


class MemoryLoadHistory:
    def __init__(self) -> None:
        self._spans: dict[float, LoadSpan] = {}

    async def keep(self, span: LoadSpan) -> None:
        self._spans.setdefault(span.ended_at, span)

    async def read(self, deployment_id: DeploymentId, since: float, until: float) -> list[Moment]:
        return moments_of([span for _, span in sorted(self._spans.items())], deployment_id, since, until)


def moments_of(spans: Sequence[LoadSpan], deployment_id: DeploymentId, since: float, until: float) -> list[Moment]:
    return [
        (span.ended_at, record)
        for span in spans
        if since < span.ended_at <= until
        for record in span.records
        if record.deployment_id == deployment_id
    ]
