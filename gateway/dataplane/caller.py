"""A caller's connection as whoever answers sees it: where the answer goes, how fast bytes pass, and what follows.

Reading stops while there is a reason to, and goes on when there is none: the reasons are counted here, so that no two
parts of the data plane wake what the other has put to sleep.
"""

import asyncio
from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar, cast

import msgspec
from uvicorn.protocols.utils import get_remote_addr, is_ssl
from uvicorn.server import ServerState

from gateway.addresses import is_sdk_path
from gateway.dataplane import http2
from gateway.dataplane.framing import Framing, Sized, UntilClose
from gateway.dataplane.gate import Errand
from gateway.dataplane.heads import RequestHead
from gateway.dataplane.remembering import Known
from gateway.dataplane.rewrite import Provenance
from gateway.dataplane.said import Lines, said
from gateway.dataplane.states import CONTROL, DISCARD, HEAD, SPLICED
from gateway.errors import Problem

if TYPE_CHECKING:
    from gateway.dataplane.call import Call
    from gateway.dataplane.plane import DataPlane

_DISCARD_KEEPS_ALIVE_MAX = 1024 * 1024
NO_MORE = Sized(0)


class Hold(IntEnum):
    """Why the caller's bytes are not read at the moment."""

    KEPT = 1
    """Enough of the body is kept until a replica takes it."""
    SLOW = 2
    """The replica takes it slowly."""
    BACKLOG = 4
    """The caller is ahead of its own request."""


KEPT, SLOW, BACKLOG = Hold
"""By themselves, as in `states.py`."""


class Caller(asyncio.Protocol):
    __slots__ = (
        "_backlog", "_body", "_call", "_closing", "_head", "_known", "_loop", "_server_state", "_since",
        "_state", "_timer", "held", "peer", "scheme", "slow", "transport", "write",
    )  # fmt: skip

    plane: ClassVar["DataPlane"]

    transport: asyncio.Transport
    write: Callable[[bytes], None]

    def __init__(self, server_state: ServerState) -> None:
        self._server_state = server_state
        self._loop = self.plane.loop
        self._state = HEAD
        self._since = self._loop.time()
        """When it began to wait for what it waits for."""
        self._timer: asyncio.TimerHandle | None = None
        self._backlog = b""
        """Arrived, and not yet its turn."""
        self._body: Framing = NO_MORE
        self._head: RequestHead | None = None
        self._known: Known[RequestHead] | None = None
        """The last head that can be known again."""
        self._call: Call | None = None
        self._closing = False
        """No further request on this connection."""
        self.held = 0
        """For which reasons its bytes are not read."""
        self.slow = False
        """It takes the answer slowly."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self.write = self.transport.write
        address = get_remote_addr(self.transport)
        self.peer = address[0] if address else "unknown"
        self.scheme = "https" if is_ssl(self.transport) else "http"

    def _look_at_clock(self) -> None:
        raise NotImplementedError

    def _read_backlog(self) -> None:
        raise NotImplementedError

    # Pace

    def hold(self, why: Hold) -> None:
        if not self.held:
            self.transport.pause_reading()
        self.held |= why

    def go_on(self, why: Hold) -> None:
        if self.held & why:
            self.held &= ~why
            if not self.held and not self.transport.is_closing():
                self.transport.resume_reading()

    def read_on(self) -> None:
        """Whatever it was held for."""
        if self.held:
            self.held = 0
            self.transport.resume_reading()

    # The answer

    @property
    def keeps_alive(self) -> bool:
        return not self._closing and not self.plane.draining and (self._body.done or self._body_will_end())

    def _body_will_end(self) -> bool:
        """What is left of it is small enough to wait for."""
        body = self._body
        if self._head is None or self._head.expects_continue:
            return False
        return isinstance(body, Sized) and body.left <= _DISCARD_KEEPS_ALIVE_MAX

    def answered(self, keep_alive: bool) -> None:
        self._call = None
        self._closing = self._closing or not keep_alive
        if self._body.done:
            self._next()
        else:
            self._discard()

    def respond(self, problem: Problem, provenance: Provenance) -> None:
        if self._call is None:
            self.plane.insight.tallies.refused(problem.status)
        self._call = None
        self.plane.counts.refused += 1
        self._refused(problem, provenance)

    def splice(self) -> None:
        self._state = SPLICED
        backlog, self._backlog = self._backlog, b""
        self.go_on(BACKLOG)
        if backlog and self._call is not None:
            self._call.spliced_from_caller(backlog)

    def close(self) -> None:
        self._call = None
        self.transport.close()

    def abort(self) -> None:
        """The answer cannot be completed; a caller must not take what it has for the whole."""
        self._call = None
        self.transport.abort()

    def _next(self) -> None:
        """This request is over, from head to answer."""
        if self._state is not CONTROL:  # uvicorn counts its own.
            self._server_state.total_requests += 1
        self._call = self._head = None
        self._state, self._since = HEAD, self._loop.time()
        if self._closing:
            self.transport.close()
        elif (self.held or self._backlog) and not self.transport.is_closing():
            self.read_on()
            if self._backlog:
                self._loop.call_soon(self._read_backlog)

    # What the gateway says by itself

    def _answer(self, meant: Errand | bytes | Problem, provenance: Provenance) -> None:
        """Without a model."""
        if isinstance(meant, Problem):
            self.respond(meant, provenance)
        elif isinstance(meant, bytes):
            self._say(200, meant, provenance)
        elif isinstance(woken := self.plane.wake(meant.address.target), Problem):
            self.respond(woken, provenance)
        else:
            self._say(202, b"{}", msgspec.structs.replace(provenance, deployment_id=woken))

    def _refuse_http2(self) -> None:
        self._closing = True
        self._backlog = b""
        self._body = UntilClose()
        self.plane.counts.refused += 1
        self.write(http2.REFUSAL)
        self._discard()

    def _refuse(self, problem: Problem) -> None:
        """A head that cannot be read: where the next request begins is unknown, so there is none."""
        self._closing = True
        self._backlog = b""
        self._body = UntilClose()
        self.respond(problem, self.plane.provenance(request_id="unknown"))

    def _refused(self, problem: Problem, provenance: Provenance) -> None:
        for_sdk = self._head is not None and is_sdk_path(self._head.target)
        self._say(problem.status, problem.body(for_sdk=for_sdk), provenance, problem.headers)

    def _say(self, status: int, body: bytes, provenance: Provenance, headers: Lines = ()) -> None:
        keep_alive = self.keeps_alive
        bodyless = self._head is not None and self._head.method == "HEAD"
        out = said(status, body, provenance, headers, keep_alive=keep_alive, bodyless=bodyless)
        self.write(out)
        self._closing = not keep_alive
        if self._body.done:
            self._next()
        else:
            self._discard()

    def _discard(self) -> None:
        self._state, self._since = DISCARD, self._loop.time()
        self.read_on()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(self.plane.settings.linger_s, self._look_at_clock)
        if self._closing and self.transport.can_write_eof():
            self.transport.write_eof()
