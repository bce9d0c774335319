"""Signals within one process: for tests and the simulator."""

import asyncio
from collections.abc import AsyncIterator

from events.signals import Signal


class MemorySignals:
    def __init__(self) -> None:
        self._listeners: set[asyncio.Queue[Signal]] = set()

    async def publish(self, signal: Signal) -> None:
        for queue in sorted(self._listeners, key=id):
            queue.put_nowait(signal)

    async def listen(self) -> AsyncIterator[Signal]:
        queue: asyncio.Queue[Signal] = asyncio.Queue()
        self._listeners.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._listeners.discard(queue)
