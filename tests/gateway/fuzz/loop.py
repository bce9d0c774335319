"""An event loop and transports in memory: no sockets, no waiting, and the same order of events every time.

Time stands still while anything is ready and then jumps to the next timer. A `Pipe` behaves as uvloop's transports do:
nothing is delivered after `close`, or while reading is paused; the end is told from the loop, never from inside a call.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Any, TypeVarTuple

STEPS_MAX = 100_000
_Ts = TypeVarTuple("_Ts")
Factory = Callable[[], asyncio.Protocol]
Dial = Callable[[Factory], "Pipe"]


class Loop(asyncio.BaseEventLoop):
    """As much of a loop as the data plane and uvicorn's protocol use."""

    def __init__(self) -> None:
        super().__init__()
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._now = 0.0
        self._numbered = 0
        self.dial: Dial | None = None
        """What `create_connection` connects to; None: nothing listens."""
        self.failures: list[str] = []

    def __enter__(self) -> "Loop":
        asyncio._set_running_loop(self)
        return self

    def __exit__(self, *failure: object) -> None:
        for task in asyncio.all_tasks(self):
            task.cancel()
        self.pump()
        asyncio._set_running_loop(None)
        self.close()

    def pump(self) -> None:
        """Until nothing is ready."""
        for _ in range(STEPS_MAX):
            if not self._ready:
                return
            handle = self._ready.popleft()
            if not handle.cancelled():
                handle._run()
        raise AssertionError("it spins")

    def next_timer(self) -> bool:
        """Time jumps to the next timer; False when there is none."""
        while self._timers:
            at, _, handle = heapq.heappop(self._timers)
            if not handle.cancelled():
                self._now = max(self._now, at)
                self._ready.append(handle)
                self.pump()
                return True
        return False

    def time(self) -> float:
        return self._now

    def get_debug(self) -> bool:
        return False

    def call_soon(
        self, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._numbered += 1
        heapq.heappush(self._timers, (when, self._numbered, handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is left in the heap until its time comes."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: object = None, context: Context | None = None) -> asyncio.Task[Any]:
        return asyncio.Task(coro, loop=self, context=context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.failures.append(f"{context.get('message')}: {context.get('exception')!r}")

    async def create_connection(  # type: ignore[override]
        self, protocol_factory: Factory, host: str | None = None, port: int | None = None
    ) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        if self.dial is None:
            raise ConnectionRefusedError(111, "Connection refused")
        pipe = self.dial(protocol_factory)
        return pipe, pipe.protocol


class Pipe(asyncio.Transport):
    """One end of a connection, in the hands of a protocol; the test is the other end."""

    def __init__(self, loop: Loop, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._loop, self.protocol = loop, protocol
        self.written: list[bytes] = []
        """By the protocol, to the test."""
        self.heard: Callable[[bytes], None] | None = None
        """Told from the loop of what was written."""
        self.eof_written = False
        self.ended: str | None = None
        """How: `closed` in order, `aborted`, or `reset` by the test."""
        self._paused = False
        self._arrived: deque[bytes | type[ConnectionResetError] | None] = deque()
        protocol.connection_made(self)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("10.0.0.9", 1234) if name in ("peername", "sockname") else default

    # The test's side

    def feed(self, data: bytes) -> None:
        if data:
            self._arrive(data)

    def feed_end(self, *, reset: bool = False) -> None:
        self._arrive(ConnectionResetError if reset else None)

    def take_slowly(self, slowly: bool) -> None:
        """What was written is not taken fast enough, or is again."""
        if self.ended is None and slowly:
            self.protocol.pause_writing()
        elif self.ended is None:
            self.protocol.resume_writing()

    def _arrive(self, what: bytes | type[ConnectionResetError] | None) -> None:
        self._arrived.append(what)
        self._deliver()

    def _deliver(self) -> None:
        while self._arrived and not self._paused and self.ended is None:
            what = self._arrived.popleft()
            if isinstance(what, bytes):
                self.protocol.data_received(what)
            elif what is None:
                if not self.protocol.eof_received():
                    self.close()
            else:
                self._end("reset", ConnectionResetError(104, "Connection reset by peer"))

    def _end(self, how: str, error: Exception | None) -> None:
        if self.ended is None:
            self.ended = how
            self._loop.call_soon(self.protocol.connection_lost, error)

    # The protocol's side

    def write(self, data: "bytes | bytearray | memoryview[Any]") -> None:
        if self.ended is None:
            assert not self.eof_written, "written after the end of writing"
            self.written.append(bytes(data))
            if self.heard is not None:
                self._loop.call_soon(self.heard, bytes(data))

    def write_eof(self) -> None:
        self.eof_written = True

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        self._end("closed", None)

    def abort(self) -> None:
        self._end("aborted", None)

    def is_closing(self) -> bool:
        return self.ended is not None

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        self._loop.call_soon(self._deliver)

    def is_reading(self) -> bool:
        return not self._paused and self.ended is None

    def get_write_buffer_size(self) -> int:
        return 0

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self.protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self.protocol
