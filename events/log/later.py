"""A log that was out of reach when this process began: it is opened as soon as it answers.

Until then nothing is appended or read, and who follows waits. What is known without it is of an earlier time; it says
of which, until its follower has seen all that had happened when it was reached.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack

from events.base import ORIGIN, Position, StreamName
from events.codec import Recorded
from events.log import Draft, Log, LogUnavailable

AGAIN_S = 0.5


class LaterLog:
    def __init__(self, open_log: Callable[[], AbstractAsyncContextManager[Log]], stale_since: float) -> None:
        """`open_log` raises LogUnavailable while there is none. `stale_since`: monotonic; of what is known now."""
        self._open_log = open_log
        self._held = AsyncExitStack()
        self._stale_since: float | None = stale_since
        self._log: Log | None = None
        self._reaching = asyncio.create_task(self._reach())

    async def _reach(self) -> tuple[Log, Position]:
        """The log, and where it ended when it was reached."""
        while True:
            try:
                if self._log is None:
                    self._log = await self._held.enter_async_context(self._open_log())
                return self._log, await self._log.head()
            except LogUnavailable:
                await asyncio.sleep(AGAIN_S)

    async def close(self) -> None:
        self._reaching.cancel()
        await asyncio.wait({self._reaching})
        await self._held.aclose()

    @property
    def stale_since(self) -> float | None:
        return self._stale_since if self._stale_since is not None or self._log is None else self._log.stale_since

    @property
    def _reached(self) -> Log:
        if self._log is None:
            raise LogUnavailable("the log has not been reached since this process began")
        return self._log

    async def append(self, stream: StreamName, drafts: tuple[Draft, ...], expected: Position) -> Position:
        return await self._reached.append(stream, drafts, expected)

    async def read(
        self, after: Position = ORIGIN, until: Position | None = None, stream: StreamName | None = None
    ) -> tuple[Recorded, ...]:
        return await self._reached.read(after, until, stream)

    async def head(self) -> Position:
        return await self._reached.head()

    async def follow(self, after: Position) -> AsyncIterator[tuple[Recorded, ...]]:
        log, head = await asyncio.shield(self._reaching)
        if after >= head:
            self._stale_since = None
        async for batch in log.follow(after):
            yield batch
            if batch[-1].position >= head:
                self._stale_since = None
