"""A subscriber's place in the log, kept under a name of its own. Losing one means reading again, never skipping."""

from typing import Protocol

from events.base import Position


class CursorsUnavailable(Exception):
    """The store does not answer."""


class Cursors(Protocol):
    """Both methods raise CursorsUnavailable."""

    async def load(self, name: str) -> Position | None: ...

    async def save(self, name: str, position: Position) -> None: ...


class MemoryCursors:
    def __init__(self) -> None:
        self._places: dict[str, Position] = {}

    async def load(self, name: str) -> Position | None:
        return self._places.get(name)

    async def save(self, name: str, position: Position) -> None:
        self._places[name] = position
