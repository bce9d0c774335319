"""The threads that move weights: what blocks there does not hold up the loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")


class Threads:
    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(count, "weights")

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def run(self, work: Callable[..., _T], *arguments: object, give_up: Callable[[], None] = lambda: None) -> _T:
        """A thread cannot be cancelled: it is waited for, since what it writes to is closed afterwards."""
        running = asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            give_up()
            await asyncio.wait({running})
            raise
