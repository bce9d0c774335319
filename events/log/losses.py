"""Losses that a person has accepted, and where a reader goes on whose place lies in one. Pure, but for the asking.

After `causeway log restore --accept-loss` other events have the positions of the lost ones. A place that was noted
before must not go on as if nothing had been: it names the losses that it knows, and one that it does not know takes it
back to just before it. So a reader meets `LossAccepted`, and everything that came in place of what was lost.
"""

from collections.abc import Collection, Sequence

from events.base import EventId, Position
from events.codec import Recorded
from events.log import Log
from events.seal import LOG_STREAM, LossAccepted


async def accepted_losses(log: Log) -> tuple[Recorded, ...]:
    """In order. Raises LogUnavailable, LogBroken."""
    return tuple(each for each in await log.read(stream=LOG_STREAM) if isinstance(each.event, LossAccepted))


def unknown_to(place: Position, known: Collection[EventId], losses: Sequence[Recorded]) -> tuple[Recorded, ...]:
    """The losses at or before a place that it does not know of: what was read from them on is not what is there."""
    return tuple(each for each in losses if each.position <= place and each.meta.id not in known)


def taken_back(place: Position, unknown: Sequence[Recorded]) -> Position:
    """Where to go on: just before the first of the unknown losses."""
    return min((Position(each.position - 1) for each in unknown), default=place)
