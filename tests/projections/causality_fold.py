"""Why things happened, by one fold over the whole log: the specification of what `ops/whence.py` finds by its index."""

import msgspec

from events.base import EventId, StreamName
from events.codec import Recorded
from projections.base import Projection
from projections.causality import How, Link


class Life(msgspec.Struct):
    """One aggregate so far."""

    last: EventId
    was_caused: bool
    """Its first event followed from another one."""


class Causality(msgspec.Struct):
    links: dict[EventId, Link] = {}
    lives: dict[StreamName, Life] = {}


def evolve(causality: Causality, recorded: Recorded) -> Causality:
    meta = recorded.meta
    life = causality.lives.get(recorded.stream)
    how: How = "began" if meta.causation_id is None else "caused by"
    parent = meta.causation_id
    if life is not None and life.was_caused and _reported_in(causality, recorded):
        how, parent = "after", life.last
    causality.links[meta.id] = Link(meta.id, recorded.position, recorded.stream, how, parent)
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
