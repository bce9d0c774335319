"""Which events a subscriber wants: by type, by an id that the event names, by the chain it belongs to. Pure."""

from collections.abc import Callable

import msgspec

from events.codec import Recorded, event_type
from projections.entities import entities
from projections.patterns import matching


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
