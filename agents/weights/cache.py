"""Which of what lies on a node's disk goes when room is needed: a segmented LRU within a budget of bytes.

What is used once stays in the cold part and goes first, so reading through many models once cannot push out what is
used again and again; a second use makes it hot. What is spared (a replica runs or starts on it) never goes. Entries
are named by the caller; nothing here touches a disk or reads a clock.
"""

from collections.abc import Callable

import msgspec

HOT_SHARE = 0.8
"""Of the budget: beyond it, the least recently used of the hot becomes cold again."""


class Shelf(msgspec.Struct):
    """Both parts in the order of their use, the longest ago first; the values are sizes."""

    budget_bytes: int
    cold: dict[str, int] = {}
    hot: dict[str, int] = {}
    used_bytes: int = 0
    hot_bytes: int = 0

    def __contains__(self, key: str) -> bool:
        return key in self.cold or key in self.hot


def put(shelf: Shelf, key: str, size: int, *, hot: bool = False) -> None:
    """Something new, or of a new size. It is the last to go of its part, and may exceed the budget: see `victims`."""
    drop(shelf, key)
    shelf.used_bytes += size
    if hot:
        shelf.hot[key] = size
        shelf.hot_bytes += size
        _cool(shelf)
    else:
        shelf.cold[key] = size


def use(shelf: Shelf, key: str) -> None:
    """Once more: now it is hot."""
    size = shelf.cold.get(key, shelf.hot.get(key))
    if size is not None:
        put(shelf, key, size, hot=True)


def drop(shelf: Shelf, key: str) -> None:
    if (size := shelf.cold.pop(key, None)) is not None:
        shelf.used_bytes -= size
    elif (size := shelf.hot.pop(key, None)) is not None:
        shelf.used_bytes -= size
        shelf.hot_bytes -= size


def victims(shelf: Shelf, need_bytes: int, is_spared: Callable[[str], bool]) -> tuple[str, ...] | None:
    """What must go so that as many bytes more fit the budget, in that order. None: all that may go is not enough."""
    lacking = shelf.used_bytes + need_bytes - shelf.budget_bytes
    return freeing(shelf, lacking, is_spared)


def freeing(shelf: Shelf, lacking_bytes: int, is_spared: Callable[[str], bool]) -> tuple[str, ...] | None:
    """What must go to free so many bytes."""
    chosen: list[str] = []
    for part in (shelf.cold, shelf.hot):
        for key, size in part.items():
            if lacking_bytes <= 0:
                return tuple(chosen)
            if not is_spared(key):
                chosen.append(key)
                lacking_bytes -= size
    return tuple(chosen) if lacking_bytes <= 0 else None


def _cool(shelf: Shelf) -> None:
    while shelf.hot_bytes > HOT_SHARE * shelf.budget_bytes and len(shelf.hot) > 1:
        key = next(iter(shelf.hot))
        size = shelf.hot.pop(key)
        shelf.hot_bytes -= size
        shelf.cold[key] = size
