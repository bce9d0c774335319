"""Ends a call in which nothing has moved for a while, either way.

Every byte that passes sets a flag and nothing else; one timer looks at it, so the end comes after one to one and a
half times the limit.
"""

import asyncio
from collections.abc import Callable


class Silence:
    __slots__ = ("_ended", "_limit_s", "_loop", "_quiet", "_timer", "stirred")

    def __init__(self, loop: asyncio.AbstractEventLoop, limit_s: float, ended: Callable[[], None]) -> None:
        self._loop, self._limit_s, self._ended = loop, limit_s, ended
        self._timer: asyncio.TimerHandle | None = None
        self._quiet = 0
        self.stirred = False

    def watch(self) -> None:
        if self._timer is None:
            self._quiet, self.stirred = 0, False
            self._timer = self._loop.call_later(self._limit_s / 2, self._look)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._quiet = 0 if self.stirred else self._quiet + 1
        self.stirred = False
        self._timer = None
        if self._quiet >= 2:
            self._ended()
        else:
            self._timer = self._loop.call_later(self._limit_s / 2, self._look)
