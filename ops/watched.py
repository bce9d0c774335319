"""A mapping of a state that notes which of its values were handed out, and how they were: no other can have changed.

A state is a tree, and a fold changes nothing but its own state, so what an event changes in a mapping it got from the
mapping or put into it. Of a mapping of mappings the inner ones are watched the same way. Pure.
"""

from collections.abc import Callable, Iterator, MutableMapping
from functools import partial
from typing import Any

from projections.diff import Tree
from projections.stores.unread import Unread

Shown = Callable[[dict[Any, Any]], dict[Any, Tree]]
"""How some of the values are shown."""


class Watched(MutableMapping[Any, Any]):
    def __init__(self, values: MutableMapping[Any, Any], shown: Shown) -> None:
        """`shown`: asked of each value before anybody can change it."""
        self._values, self._shown = values, shown
        self._touched: dict[Any, None] = {}
        self._before: dict[Any, Tree] = {}
        """Of what was touched; nothing for what was not there."""
        self._within: dict[Any, Watched] = {}

    def _touch(self, key: Any) -> None:
        if key in self._touched:
            return
        self._touched[key] = None
        if key in self._values:
            self._before |= self._shown({key: self._values[key]})
        inner = self._within.pop(key, None)
        if inner is not None:  # Some of it may have been changed just before.
            as_it_is = {each: shown for each, shown in self._before[key].items() if each not in inner._touched}
            self._before[key] = as_it_is | inner._before

    def __getitem__(self, key: Any) -> Any:
        value = self._values[key]
        if isinstance(value, dict | Unread):
            return self._within.setdefault(key, Watched(value, partial(_below, self._shown, key)))
        self._touch(key)
        return value

    def __setitem__(self, key: Any, value: Any) -> None:
        self._touch(key)
        self._values[key] = value

    def __delitem__(self, key: Any) -> None:
        self._touch(key)
        del self._values[key]

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def taken(self) -> tuple[dict[Any, Tree], dict[Any, Any]]:
        """What was touched since the last time: as it was, and what stands there now."""
        before, now = self._before, {key: self._values[key] for key in self._touched if key in self._values}
        for key, inner in self._within.items():
            if key not in self._touched and inner._touched:
                before[key], now[key] = inner.taken()
        self._touched, self._before, self._within = {}, {}, {}
        return before, now


def _below(shown: Shown, key: Any, few: dict[Any, Any]) -> dict[Any, Tree]:
    inner: dict[Any, Tree] = shown({key: few})[key]
    return inner
