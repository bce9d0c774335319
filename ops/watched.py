"""A mapping of a state that notes which of its values were handed out, and how they were: no other can have changed.

A state is a tree, and a fold changes nothing but its own state, so what an event changes in a mapping it got from the
mapping or put into it. Pure.
"""

from collections.abc import Callable, Iterator, MutableMapping
from typing import TypeVar

from projections.diff import Tree

K = TypeVar("K")
V = TypeVar("V")


class Watched(MutableMapping[K, V]):
    def __init__(self, values: MutableMapping[K, V], shown: Callable[[K, V], Tree]) -> None:
        """`shown`: how a value is shown; asked of each before anybody can change it."""
        self._values, self._shown = values, shown
        self._before: dict[K, Tree] = {}
        """Of what was touched; nothing for what was not there."""
        self._touched: dict[K, None] = {}

    def _touch(self, key: K) -> None:
        if key not in self._touched:
            self._touched[key] = None
            if key in self._values:
                self._before[key] = self._shown(key, self._values[key])

    def __getitem__(self, key: K) -> V:
        self._touch(key)
        return self._values[key]

    def __setitem__(self, key: K, value: V) -> None:
        self._touch(key)
        self._values[key] = value

    def __delitem__(self, key: K) -> None:
        self._touch(key)
        del self._values[key]

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[K]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def taken(self) -> tuple[dict[K, Tree], dict[K, V]]:
        """What was touched since the last time: as it was, and what stands there now."""
        before, touched = self._before, self._touched
        self._before, self._touched = {}, {}
        return before, {key: self._values[key] for key in touched if key in self._values}
