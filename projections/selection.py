"""Which events a subscriber wants: by type, by an id that the event names, by the chain it belongs to. Pure."""

from collections.abc import Callable, Sequence
from difflib import get_close_matches

import msgspec

from events.codec import KNOWN, Recorded, event_type
from projections.entities import entities
from projections.patterns import is_pattern, matching

TYPES = tuple(sorted({each.partition(".")[0] for each in KNOWN}))
"""Names of all types of events, without versions."""


class Selection(msgspec.Struct, frozen=True):
    """All conditions together; an empty one is no condition."""

    types: tuple[str, ...] = ()
    """One of these, each exact or with `*` and `?`: `Replica*`."""
    entities: tuple[str, ...] = ()
    """One of these is an id that the event names in any role."""
    correlation: str | None = None


def selects(selection: Selection) -> Callable[[Recorded], bool]:
    known: dict[str, bool] = {}
    matches, wanted = matching(selection.types), frozenset(selection.entities)

    def type_ok(name: str) -> bool:
        if name not in known:
            known[name] = matches(name)
        return known[name]

    def selected(recorded: Recorded) -> bool:
        return (
            type_ok(event_type(recorded.event))
            and (selection.correlation is None or recorded.meta.correlation_id == selection.correlation)
            and (not wanted or not wanted.isdisjoint(entities(recorded.stream, recorded.event)))
        )

    return selected


def no_such_type(patterns: Sequence[str]) -> tuple[str, str] | None:
    """The first that no type of event is meant by, and what to write instead. Who waits for it would wait for ever."""
    for each in patterns:
        if not any(map(matching((each,)), TYPES)):
            return each, _instead(each)
    return None


def _instead(text: str) -> str:
    bare = text.strip("*?").lower()
    near = [name for name in TYPES if bare and (bare in name.lower() or name.lower() in bare)]
    near = near or get_close_matches(text, TYPES, n=3, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(near[:5])}?"
    return f"{'nothing matches; ' if is_pattern(text) else ''}known are {', '.join(TYPES)}"
