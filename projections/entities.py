"""Which entities an event is about: its own aggregate first, then every other id that it names.

Read from the field names alone, so an event of a newer version is found by its ids as well.
"""

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, get_args

import msgspec

from events.base import StreamName
from events.union import AnyEvent, UnknownEvent

ID_FIELDS = (
    "model_id",
    "deployment_id",
    "previous",  # the deployment that a promotion replaces; a number in scale decisions, which names nobody
    "build_id",
    "replica_id",
    "node_id",
    "builder",
    "promotion_id",
    "key_id",
)


def _reader(kind: type[Any]) -> Callable[[Any], tuple[Any, ...]]:
    """Of all id fields of an event at once."""
    names = [name for name in ID_FIELDS if name in kind.__struct_fields__]
    if not names:
        return lambda event: ()
    read = attrgetter(*names)
    return read if len(names) > 1 else lambda event: (read(event),)


_NAMED: Mapping[type[Any], Callable[[Any], tuple[Any, ...]]] = {kind: _reader(kind) for kind in get_args(AnyEvent)}


def entities(stream: StreamName, event: AnyEvent | UnknownEvent) -> tuple[str, ...]:
    """Each id once. This is asked of every event of a log."""
    named: tuple[Any, ...]
    if isinstance(event, UnknownEvent):
        body: dict[str, Any] = msgspec.json.decode(event.body)
        named = tuple(body.get(name) for name in ID_FIELDS)
    else:
        named = _NAMED[type(event)](event)
    found = {stream.id: None}
    for each in named:
        if isinstance(each, str):
            found[each] = None
    return tuple(found)
