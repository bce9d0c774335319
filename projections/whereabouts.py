"""Where an event stands in the log, and which events are about an entity: an index of one stretch of it. Pure.

Ids are kept as eight bytes of their hash. So an answer may name a position too many, never one too few: who asks reads
the event there and looks.
"""

from array import array
from collections.abc import Iterator, Sequence
from hashlib import blake2b

import msgspec

from events.base import EventId, Position
from events.codec import Recorded
from projections.entities import entities

STRETCH = 8192
"""Events that one index is about; the last stretch of a log may have fewer."""
_KEY_BYTES = 8


class Mentions(msgspec.Struct, frozen=True):
    """Entities, and the events about each: places counted from the beginning of the stretch."""

    keys: bytes
    ends: bytes
    """By entity: where its places end, as unsigned 32-bit numbers."""
    places: bytes

    def of(self, key: bytes) -> Sequence[int]:
        at = next(_found(self.keys, key), None)
        if at is None:
            return ()
        ends = array("I", self.ends)
        return array("I", self.places)[ends[at - 1] if at else 0 : ends[at]]


class Stretch(msgspec.Struct, frozen=True):
    after: Position
    last: Position
    last_id: EventId
    """By which a reader knows that it is about the log at hand."""
    ids: bytes
    own: Mentions
    """By aggregate id: the events of its own history."""
    named: Mentions
    """By any other id that an event names."""


def stretch(after: Position, events: Sequence[Recorded]) -> Stretch:
    """Of the events that follow `after`, at least one."""
    own, named = dict[str, list[int]](), dict[str, list[int]]()
    for place, recorded in enumerate(events):
        first, *others = entities(recorded.stream, recorded.event)
        own.setdefault(first, []).append(place)
        for each in others:
            named.setdefault(each, []).append(place)
    ids = b"".join([_key(each.meta.id) for each in events])
    return Stretch(after, events[-1].position, events[-1].meta.id, ids, _mentions(own), _mentions(named))


def positions_of(found: Stretch, event_id: str) -> list[Position]:
    """Where the event may stand: nearly always one position or none."""
    return [Position(found.after + 1 + place) for place in _found(found.ids, _key(event_id))]


def own_positions(found: Stretch, entity: str) -> list[Position]:
    return [Position(found.after + 1 + place) for place in found.own.of(_key(entity))]


def naming_positions(found: Stretch, entity: str) -> list[Position]:
    return [Position(found.after + 1 + place) for place in found.named.of(_key(entity))]


def _key(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=_KEY_BYTES).digest()


def _found(keys: bytes, key: bytes) -> Iterator[int]:
    at = keys.find(key)
    while at >= 0:
        if at % _KEY_BYTES == 0:
            yield at // _KEY_BYTES
        at = keys.find(key, at + 1)


def _mentions(places: dict[str, list[int]]) -> Mentions:
    """Entities of one hash, however unlikely, have their places together."""
    by_key: dict[bytes, list[int]] = {}
    for entity, found in places.items():
        by_key[_key(entity)] = sorted([*by_key.get(_key(entity), ()), *found])
    ends, total = array("I"), 0
    for found in by_key.values():
        total += len(found)
        ends.append(total)
    flat = array("I", [place for found in by_key.values() for place in found])
    return Mentions(b"".join(by_key), ends.tobytes(), flat.tobytes())
