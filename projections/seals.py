"""How far the log is sealed, and since when something waits for the next seal."""

from datetime import datetime, timedelta

import msgspec

from events.base import ORIGIN, Position
from events.codec import Recorded
from events.seal import LogSealed
from projections.base import Projection


class Seals(msgspec.Struct):
    last: Position = ORIGIN
    """The last position that is sealed."""
    hash: str = ""
    whole: Position = ORIGIN
    """Where the last whole decision ends."""
    since: datetime | None = None
    """Time of the first event after the last seal that is not a seal itself; None: nothing waits."""


def evolve(seals: Seals, recorded: Recorded) -> Seals:
    if isinstance(recorded.event, LogSealed):
        seals.last, seals.hash, seals.since = recorded.event.last, recorded.event.hash, None
        # What came between the segment's end and its seal waits for the next one; from when on, hardly matters.
        if recorded.position > seals.last + 1:
            seals.since = recorded.meta.at
    elif seals.since is None:
        seals.since = recorded.meta.at
    if recorded.meta.index + 1 >= recorded.meta.count:
        seals.whole = recorded.position
    return seals


def due(seals: Seals, now: datetime, most: int, oldest: timedelta) -> datetime | None:
    """When the next seal is called for; None: nothing waits for one."""
    if seals.since is None:
        return None
    return now if seals.whole - seals.last >= most else seals.since + oldest


SEALS: Projection[Seals] = Projection("seals", 1, Seals, Seals, evolve)
