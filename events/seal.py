"""Seals: what the log was, in hashes that follow from each other, said in the log itself; and what it has lost."""

from typing import Final

from events.base import Event, Position, StreamName

LOG_STREAM: Final = StreamName("log", "seals")


class LogSealed(Event, frozen=True, kw_only=True):
    """From now on a change of any event up to `last` can be seen: the hash of this segment would be another one."""

    first: Position
    last: Position
    hash: str
    """sha256 hex of the previous seal's hash and of the segment's messages (events/log/segments.py)."""
    previous_hash: str
    """Of the seal before; empty for the first one."""


class LossAccepted(Event, frozen=True, kw_only=True):
    """The events that were at these positions are lost; others get their positions from now on."""

    first: Position
    """This event's own position."""
    last: Position
