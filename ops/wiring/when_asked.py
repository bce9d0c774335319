"""An ASGI application that is loaded when somebody first asks for it.

Most gateway workers of a busy machine are never asked for the control API, and its libraries would be a third of such a
process. A thread loads them, so that requests to models pass meanwhile; who asked first waits for half a second.
"""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

App = Callable[[Any, Any, Any], Awaitable[None]]


class WhenAsked:
    """`load` runs in a thread: it may touch nothing of the event loop's."""

    def __init__(self, load: Callable[[], App]) -> None:
        self._load = load
        self._loading: asyncio.Task[App] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._loading is None:
            self._loading = asyncio.create_task(asyncio.to_thread(self._loaded))
        app = await asyncio.shield(self._loading)  # Others may wait for the same.
        await app(scope, receive, send)

    def _loaded(self) -> App:
        # Among so many new objects the collector would begin a full pass, which stops all threads for 30-80 ms.
        gc.disable()
        try:
            return self._load()
        finally:
            gc.freeze()
            gc.enable()
