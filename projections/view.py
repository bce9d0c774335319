"""A view: the state of a fold, the position it reflects, and a way to wait until it has seen a position.

One process, one event loop: the state changes only between two awaits of its readers, whole decisions at a time.
"""

import asyncio
import heapq
from collections.abc import Callable
from typing import Generic, TypeVar

from events.base import ORIGIN, EventId, Position
from events.codec import Recorded
from projections.base import Projection

S = TypeVar("S")
NOBODY = EventId("")
"""Of no event."""


class View(Generic[S]):
    def __init__(self, projection: Projection[S]) -> None:
        self.projection = projection
        self.state: S = projection.initial()
        self.position: Position = ORIGIN
        self.event_id = NOBODY
        """Of the event at the position: by it one knows the log that the state was folded from."""
        self._waiters: list[tuple[Position, int, asyncio.Future[None]]] = []
        self._listeners: list[Callable[[], None]] = []
        self._count = 0

    async def reached(self, position: Position) -> None:
        """Returns when the state reflects `position`. Callers that must not wait for ever use `asyncio.timeout`."""
        if self.position >= position:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._waiters, (position, self._count, future))
        await future

    def on_change(self, listener: Callable[[], None]) -> None:
        """Calls `listener` after every batch that was folded. It must not block and not raise."""
        self._listeners.append(listener)

    def restore(self, state: S, position: Position, event_id: EventId = NOBODY) -> None:
        """Begin from a snapshot instead of from the origin. `event_id`: of the event there, if it is known."""
        self.state, self.position, self.event_id = state, position, event_id

    def forget(self) -> None:
        """Begin from the origin after all."""
        self.restore(self.projection.initial(), ORIGIN)

    def fold(self, batch: tuple[Recorded, ...]) -> None:
        """For the follower: fold what is new of a batch, without telling anybody yet."""
        state, evolve, position = self.state, self.projection.evolve, self.position
        for recorded in batch:
            if recorded.position > position:
                state = evolve(state, recorded)
        self.state = state
        if batch[-1].position > position:
            self.position, self.event_id = batch[-1].position, batch[-1].meta.id

    def announce(self) -> None:
        """For the follower: wake whoever waited for what has been folded."""
        while self._waiters and self._waiters[0][0] <= self.position:
            future = heapq.heappop(self._waiters)[2]
            if not future.done():
                future.set_result(None)
        for listener in self._listeners:
            listener()
