"""Why things happened: what each event followed from, back to the person or the signal that began it.

An event follows from the event that its command was caused by. An agent's report names none, or the decision that began
the life of its replica or build: it follows from what happened in that life just before.
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
    stream: StreamName
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
    how: How = "began" if meta.causation_id is None else "caused by"
    parent = meta.causation_id
    if life is not None and life.was_caused and _reported_in(causality, recorded):
        how, parent = "after", life.last
    if meta.causation_id is not None:
        causality.effects.setdefault(meta.causation_id, []).append(meta.id)
    causality.links[meta.id] = Link(meta.id, recorded.position, recorded.stream, how, parent, meta.correlation_id)
    causality.trees.setdefault(meta.correlation_id, []).append(meta.id)
    if life is None:
        causality.lives[recorded.stream] = Life(meta.id, meta.causation_id is not None)
    else:
        life.last = meta.id
    return causality


def _reported_in(causality: Causality, recorded: Recorded) -> bool:
    """An agent's report of the next step in the life of this aggregate."""
    cause = causality.links.get(recorded.meta.causation_id) if recorded.meta.causation_id is not None else None
    by_agent = recorded.meta.actor.name.startswith("agent:")
    return by_agent and (recorded.meta.causation_id is None or (cause is not None and cause.stream == recorded.stream))


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
