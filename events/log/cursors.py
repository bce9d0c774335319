"""A subscriber's place in the log, kept under a name of its own. Losing one means reading again, never skipping."""

from typing import Protocol

import msgspec

from events.base import EventId, Position


class Cursor(msgspec.Struct, frozen=True):
    position: Position
    losses: tuple[EventId, ...] = ()
    """The accepted losses that were read on the way there."""


class CursorsUnavailable(Exception):
    """The store does not answer."""


class Cursors(Protocol):
    """Both methods raise CursorsUnavailable."""

    async def load(self, name: str) -> Cursor | None: ...

    async def save(self, name: str, cursor: Cursor) -> None: ...


class MemoryCursors:
    def __init__(self) -> None:
        self._places: dict[str, Cursor] = {}

    async def load(self, name: str) -> Cursor | None:
        return self._places.get(name)

    async def save(self, name: str, cursor: Cursor) -> None:
        self._places[name] = cursor
