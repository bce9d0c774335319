"""A mapping of a state that notes which of its values were handed out: no other can have changed. Pure.

A state is a tree, and a fold changes nothing but its own state, so what an event changes in a mapping it got from the
mapping or put into it.
"""

from collections.abc import Iterator, MutableMapping
from typing import Any, TypeVar

import msgspec

from projections.stores.unread import Unread

K = TypeVar("K")
V = TypeVar("V")


class Watched(MutableMapping[K, V]):
    def __init__(self, values: MutableMapping[K, V]) -> None:
        self._values = values
        self._touched: dict[K, None] = {}
        """In the order in which they were."""

    def __getitem__(self, key: K) -> V:
        self._touched[key] = None
        return self._values[key]

    def __setitem__(self, key: K, value: V) -> None:
        self._touched[key] = None
        self._values[key] = value

    def __delitem__(self, key: K) -> None:
        self._touched[key] = None
        del self._values[key]

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[K]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def taken(self) -> tuple[tuple[K, ...], dict[K, V]]:
        """The names that were touched since the last time, and what stands there now."""
        touched, self._touched = tuple(self._touched), {}
        return touched, {key: self._values[key] for key in touched if key in self._values}


def watched(state: Any) -> Any:
    """A state like it, whose mappings are watched."""
    fields = {name: getattr(state, name) for name in state.__struct_fields__}
    mappings = {name: Watched(each) for name, each in fields.items() if isinstance(each, dict | Unread)}
    return msgspec.structs.replace(state, **mappings)
