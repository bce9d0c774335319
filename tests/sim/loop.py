"""An asyncio event loop on virtual time: idle time jumps, ready callbacks run in an order that the seed chooses.

The same seed gives the same run. Code under test must take time from `loop.time()` (asyncio's own timers do) or from a
`SimClock`.
"""

import asyncio
import random
import selectors
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

T = TypeVar("T")
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class Deadlock(AssertionError):
    """Nothing is ready and no timer is set: somebody waits for what nobody will do."""


class Livelock(AssertionError):
    """Somebody answers somebody for ever, and hardly any time passes."""


_TURNS_A_SECOND = 20_000


class _JumpingSelector(selectors.SelectSelector):
    """Never waits: where a real loop would sleep, virtual time moves on by as much."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self._turns, self._second = 0, 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Deadlock("nothing is ready and no timer is set")
        self.now += max(0.0, timeout)
        self._turns += 1
        if int(self.now) != self._second:
            self._turns, self._second = 0, int(self.now)
        if self._turns > _TURNS_A_SECOND:
            raise Livelock(f"{self._turns} turns of the loop within second {self._second}")
        return []


class SimLoop(asyncio.SelectorEventLoop):
    def __init__(self, seed: int) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)
        self._order = random.Random(f"order {seed}")
        self.connect: Callable[..., Coroutine[Any, Any, Any]] | None = None
        """What leads to the simulated network."""

    def time(self) -> float:
        return self._jumping.now

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **more: Any) -> Any:
        assert self.connect is not None, "this world has no connections"
        return await self.connect(protocol_factory, host, port)

    def _asyncgen_finalizer_hook(self, agen: Any) -> None:
        """Nothing: closing a forgotten generator when the collector happens to find it would disturb the order."""

    def _run_once(self) -> None:
        ready: Any = self._ready  # type: ignore[attr-defined]
        if len(ready) > 1:
            handles = list(ready)
            self._order.shuffle(handles)
            ready.clear()
            ready.extend(handles)
        super()._run_once()  # type: ignore[misc]


class SimClock:
    """UTC on the loop's virtual time, with a skew per process and jumps."""

    def __init__(self, loop: SimLoop, skew_s: float = 0.0) -> None:
        self._loop = loop
        self.skew_s = skew_s

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self._loop.time() + self.skew_s)


def run_simulated(seed: int, main: Coroutine[Any, Any, T], loop: SimLoop | None = None) -> T:
    """Runs to the end of `main` and then cancels whatever is left."""
    own = loop or SimLoop(seed)
    try:
        asyncio.set_event_loop(own)
        return own.run_until_complete(main)
    finally:
        end(own)


def end(loop: SimLoop) -> None:
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    asyncio.set_event_loop(None)
    loop.close()
