"""Why things happened: what each event followed from, back to the person or the signal that began it.

An event follows from the event that its command was caused by. A report of an agent names none: it follows from what
happened to the same replica or build before, if that life was begun by somebody else's decision.
"""

from typing import Literal

import msgspec

from events.base import CorrelationId, EventId, Position, StreamName
from events.codec import Recorded
from projections.base import Projection

How = Literal["began", "caused by", "after"]
"""`after`: the next step in the life of the same entity."""


class Link(msgspec.Struct, frozen=True):
    event_id: EventId
    position: Position
    how: How
    parent: EventId | None
    correlation_id: CorrelationId


class Life(msgspec.Struct):
    """One aggregate so far."""

    last: EventId
    was_caused: bool
    """Its first event followed from another one."""


class Causality(msgspec.Struct):
    links: dict[EventId, Link] = {}
    lives: dict[StreamName, Life] = {}
    effects: dict[EventId, list[EventId]] = {}
    """Event -> the events that it caused; the steps of a life are not repeated here."""
    trees: dict[CorrelationId, list[EventId]] = {}
    """All events of one request and what followed from it, in order."""


def evolve(causality: Causality, recorded: Recorded) -> Causality:
    meta = recorded.meta
    life = causality.lives.get(recorded.stream)
    how: How = "began"
    parent: EventId | None = None
    if meta.causation_id is not None:
        how, parent = "caused by", meta.causation_id
        causality.effects.setdefault(meta.causation_id, []).append(meta.id)
    elif life is not None and life.was_caused and meta.actor.name.startswith("agent:"):
        how, parent = "after", life.last
    causality.links[meta.id] = Link(meta.id, recorded.position, how, parent, meta.correlation_id)
    causality.trees.setdefault(meta.correlation_id, []).append(meta.id)
    if life is None:
        causality.lives[recorded.stream] = Life(meta.id, meta.causation_id is not None)
    else:
        life.last = meta.id
    return causality


def chain(causality: Causality, event_id: EventId) -> tuple[Link, ...]:
    """From what began it to the event itself. Stops early where a cause is not in the log that was folded."""
    links: list[Link] = []
    link = causality.links.get(event_id)
    while link is not None:
        links.append(link)
        parent = causality.links.get(link.parent) if link.parent is not None else None
        link = parent if parent is not None and parent.position < link.position else None
    return tuple(reversed(links))


CAUSALITY: Projection[Causality] = Projection("causality", 1, Causality, Causality, evolve)
