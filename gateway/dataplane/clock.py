"""The time limits of all calls of a worker, under one timer.

A call tells when it is due next and is asked then; nearly all end long before that. So a request has no timer of its
own: it costs an entry in a dict, and the timer moves only for one that is due before all others.
"""

import asyncio
from typing import Protocol

NEVER = float("inf")
APART_S = 0.01
"""Between two looks at all of them."""


class Timed(Protocol):
    due: float
    """The loop's time, or NEVER. May be too early, never too late."""

    def look_at_clock(self, now: float) -> None:
        """It is due: ends, or has its next limit in `due`."""
        ...


class Clock:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._watched: dict[Timed, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._looks_at = NEVER

    def watch(self, one: Timed, due: float) -> None:
        """It is due then, if not before."""
        if due < one.due:
            one.due = due
            self._watched[one] = None
            if due < self._looks_at:
                self._look_at(due)

    def forget(self, one: Timed) -> None:
        self._watched.pop(one, None)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._looks_at = None, NEVER

    def _look_at(self, when: float) -> None:
        self.close()
        self._looks_at = when
        self._timer = self._loop.call_at(when, self._look)

    def _look(self) -> None:
        self._timer, self._looks_at = None, NEVER
        now = self._loop.time()
        for one in [each for each in self._watched if each.due <= now]:
            if one in self._watched:  # The end of one may be that of another.
                one.look_at_clock(now)
        first = min((each.due for each in self._watched), default=NEVER)
        if first < self._looks_at:
            self._look_at(max(first, now + APART_S))
