"""Why an event happened: what it followed from. Pure; `ops/whence.py` follows the links back through the log.

An event follows from the event that its command was caused by. An agent's report names none, or the decision that began
the life of its replica or build: it follows from what happened in that life just before.
"""

from typing import Literal

import msgspec

from events.base import EventId, Position, StreamName
from events.codec import Recorded

How = Literal["began", "caused by", "after"]
"""`after`: the next step in the life of the same entity."""


class Link(msgspec.Struct, frozen=True):
    event_id: EventId
    position: Position
    stream: StreamName
    how: How
    parent: EventId | None


def link(recorded: Recorded, cause: Recorded | None, first: Recorded | None, before: Recorded | None) -> Link:
    """`cause`: the event that the command names, if it is in the log before. `first` and `before`: the first event of
    the same aggregate, and the one just before this one; None: this one is the first.
    """
    meta = recorded.meta
    how: How = "began" if meta.causation_id is None else "caused by"
    parent = meta.causation_id
    was_caused = first is not None and first.meta.causation_id is not None
    if before is not None and was_caused and _reported(recorded, cause):
        how, parent = "after", before.meta.id
    return Link(meta.id, recorded.position, recorded.stream, how, parent)


def _reported(recorded: Recorded, cause: Recorded | None) -> bool:
    """An agent's report of the next step in the life of this aggregate."""
    by_agent = recorded.meta.actor.name.startswith("agent:")
    own = cause is not None and cause.stream == recorded.stream
    return by_agent and (recorded.meta.causation_id is None or own)
