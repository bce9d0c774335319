"""One reading of the log for many readers that each have a place of their own.

The newest events are held in memory; who is further behind reads the log itself, piece by piece. A slow reader thus
costs nobody anything: nothing is kept for it, and nothing waits for it.
"""

import asyncio

from events.base import ORIGIN, Position
from events.codec import Recorded
from events.log import Log
from events.log.losses import accepted_losses

HELD = 4096
PIECE = 256


class Feed:
    """Begins to follow the log when somebody first asks what comes next."""

    def __init__(self, log: Log, held: int = HELD) -> None:
        self._log = log
        self._held = held
        self._recent: list[Recorded] = []
        self._last = ORIGIN
        self._grown = asyncio.Event()
        self._following: asyncio.Task[None] | None = None

    async def after(self, position: Position, most: int = PIECE) -> tuple[Recorded, ...]:
        """The next events after a position, at least one: waits for it. Raises LogUnavailable, LogBroken."""
        await self.beyond(position)
        first = self._recent[0].position if self._recent else self._last + 1
        if position + 1 < first:
            return await self._log.read(position, Position(min(position + most, self._last)))
        begin = position + 1 - first
        return tuple(self._recent[begin : begin + most])

    async def beyond(self, position: Position) -> None:
        """Until there is something after a position. Raises LogUnavailable, LogBroken."""
        following = self._begin()
        while self._last <= position:
            if following.done():
                self._following = None
                following.result()
            await self._grown.wait()

    @property
    def head(self) -> Position:
        """The newest position known here."""
        return self._last

    async def read(self, after: Position, until: Position) -> tuple[Recorded, ...]:
        return await self._log.read(after, until)

    async def losses(self) -> tuple[Recorded, ...]:
        return await accepted_losses(self._log)

    async def one(self, position: Position) -> Recorded:
        return (await self._log.read(Position(position - 1), position))[0]

    async def close(self) -> None:
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait({self._following})

    def _begin(self) -> asyncio.Task[None]:
        if self._following is None:
            self._following = asyncio.create_task(self._follow())
            # Whoever waits learns how it ended.
            self._following.add_done_callback(lambda _: self._tell())
        return self._following

    async def _follow(self) -> None:
        """For ever; ends by LogUnavailable at its beginning, and by LogBroken."""
        self._recent, self._last = [], await self._log.head()
        self._tell()
        async for batch in self._log.follow(self._last):
            self._recent += batch
            if len(self._recent) > 2 * self._held:
                self._recent = self._recent[-self._held :]
            self._last = batch[-1].position
            self._tell()

    def _tell(self) -> None:
        self._grown.set()
        self._grown = asyncio.Event()
