"""A caller's connection: reads one request after the other and gives each to the data plane or to the control app.

Its states: `states.py`. The framing of every request is settled here, before anyone else sees a byte of it: whatever
follows a body is the next request, whoever answers it and whenever.
"""

import asyncio
import re
from typing import Any

import msgspec
from uvicorn.config import Config
from uvicorn.server import ServerState

from gateway.dataplane import http2
from gateway.dataplane.call import Call
from gateway.dataplane.caller import BACKLOG, NO_MORE, Caller
from gateway.dataplane.control_side import ControlSide, for_control
from gateway.dataplane.framing import BadFraming, Chunked, Sized, UntilClose
from gateway.dataplane.gate import Errand, Ration
from gateway.dataplane.heads import HEAD_BYTES_MAX, BadHead, RequestHead, looks_wrong, read_request
from gateway.dataplane.kept import Body
from gateway.dataplane.plane import DataPlane, new_request_id
from gateway.dataplane.states import CALL, CONTROL, DISCARD, HANDED, HEAD, SPLICED
from gateway.errors import Problem, client_error

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_BACKLOG_MAX = 64 * 1024
_HEAD_TOO_LARGE = client_error(431, f"the head of a request may have {HEAD_BYTES_MAX} bytes")
_EMPTY_LINES = re.compile(rb"(?:\r\n)*+")
"""Before a request they mean nothing (RFC 9112 2.2)."""


class Front(Caller):
    __slots__ = ("_app_state", "_config", "_control", "_control_answered")

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(server_state)
        self._config, self._app_state = config, app_state
        self._control: ControlSide | None = None
        self._control_answered = True

    # The connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._server_state.connections.add(self)  # type: ignore[arg-type]
        self.plane.connections += 1
        self._timer = self._loop.call_later(self.plane.settings.head_timeout_s, self._look_at_clock)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server_state.connections.discard(self)
        self.plane.connections -= 1
        if self._timer is not None:
            self._timer.cancel()
        if self._control is not None:
            self._control.connection_lost(exc)
        call, self._call = self._call, None
        if call is not None:
            call.caller_gone()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._state is SPLICED:
            assert self._call is not None
            self._call.spliced_from_caller(data)
        elif self._state is HEAD:
            self._read_head(self._backlog + data if self._backlog else data)
        elif self._body.done:
            self._await_turn(data)
        else:
            self._pass_body(data)

    def pause_writing(self) -> None:
        self.slow = True
        if self._control is not None:
            self._control.pause_writing()
        if self._call is not None:
            self._call.caller_slow()

    def resume_writing(self) -> None:
        self.slow = False
        if self._control is not None:
            self._control.resume_writing()
        if self._call is not None:
            self._call.caller_ready()

    def shutdown(self) -> None:
        """uvicorn stops: finish what runs, take nothing new."""
        self._closing = True
        if self._state is HEAD or self._state is SPLICED:
            self.transport.close()
        elif self._state is CONTROL:
            assert self._control is not None
            self._control.shutdown()
        elif self._call is not None:
            self._call.shut_down()

    def _look_at_clock(self) -> None:
        """One lazy timer a connection: closes it when its caller is late."""
        settings = self.plane.settings
        if self._state is HEAD:
            self._known = None  # Who idles keeps nothing.
            limit_s = settings.head_timeout_s if self._backlog else settings.keep_alive_s
        elif self._state is DISCARD or (self._state is CONTROL and self._control_answered):
            limit_s = settings.linger_s
        elif self._state is CONTROL and not self._body.done:
            limit_s = settings.idle_timeout_s
        else:
            limit_s, self._since = settings.head_timeout_s, self._loop.time()
        left_s = self._since + limit_s - self._loop.time()
        if left_s <= 0 and self._state is HEAD and self._backlog:
            self._refuse(client_error(408, f"the head of the request did not arrive within {limit_s:g} s"))
        elif left_s <= 0:
            self.transport.close()
        else:
            # Short waits may begin during a long one.
            at_most_s = min(left_s, settings.head_timeout_s)
            self._timer = self._loop.call_later(at_most_s, self._look_at_clock)

    # One request

    def _read_head(self, arrived: bytes) -> None:
        known = self._known
        again = None if known is None else known.again(arrived)
        if known is not None and again is not None:
            length, end = again
            self._backlog = b""
            self._begin(known.head, length, arrived[:end], arrived[end:])
            return
        if arrived.startswith(b"\r"):
            arrived = arrived[_EMPTY_LINES.match(arrived).end() :]  # type: ignore[union-attr]
        end = arrived.find(b"\r\n\r\n")
        if end < 0:
            self._await_head(arrived)
        elif end > HEAD_BYTES_MAX:
            self._refuse(_HEAD_TOO_LARGE)
        else:
            self._backlog = b""
            raw, rest = arrived[: end + 4], arrived[end + 4 :]
            try:
                head, length, self._known = read_request.read(raw)
            except BadHead as bad:
                if arrived.startswith(http2.PREFACE):
                    self._refuse_http2()
                else:
                    self._refuse(bad.problem)
            else:
                self._begin(head, length, raw, rest)

    def _await_head(self, arrived: bytes) -> None:
        """The rest of it."""
        if not self._backlog:
            self._since = self._loop.time()
        self._backlog = arrived
        if len(arrived) > HEAD_BYTES_MAX:
            self._refuse(_HEAD_TOO_LARGE)
        elif arrived not in (b"", b"\r") and looks_wrong(arrived):
            self._refuse(client_error(400, "this is not an HTTP/1.1 request"))

    def _begin(self, head: RequestHead, length: int | None, raw: bytes, rest: bytes) -> None:
        plane = self.plane
        self._head = head
        if not head.keep_alive:
            self._closing = True
        entry = plane.gate.entry(head)
        meant = entry.meant
        if meant is None:
            self._body = Chunked() if head.chunked else Sized(length or 0)
            self._to_control(head, raw, rest)
            return
        plane.counts.requests += 1
        request_id = entry.request_id or new_request_id()
        ration: Ration = ()
        if plane.gate.rations and entry.key is not None:
            taken = plane.gate.ration(entry.key)
            if isinstance(taken, Problem):
                meant = taken
            else:
                ration = taken
        if isinstance(meant, Errand) and meant.address.verb != "wake":
            rest = self._call_model(head, length, meant, request_id, ration, rest)
        else:
            self._body = Chunked() if head.chunked else Sized(length or 0)
            self._answer(meant, self.plane.provenance(request_id, None, ration))
        if rest:
            self._more(rest)

    def _call_model(
        self, head: RequestHead, length: int | None, errand: Errand, request_id: str, ration: Ration, rest: bytes
    ) -> bytes:
        """What is left of what came with the head, and is not of its body.

        First the body that has come with the head, so that both go on in one piece.
        """
        size, kept_max = length or 0, self.plane.settings.replay_bytes_max
        if len(rest) >= size and not head.chunked:
            body, rest = Body(kept_max, False, rest[:size]), rest[size:]
            self._body = NO_MORE
        else:
            body = Body(kept_max, head.chunked)
            self._body = Chunked() if head.chunked else Sized(size)
        self._state = CALL
        call = self._call = Call(
            self.plane, errand.limits, self, head, length, errand, errand.address, request_id, ration, body
        )
        if rest and not self._body.done:
            self._pass_body(rest)
            rest = b""
        call.start()
        if head.expects_continue and self._call is call and not self._body.done:
            self._head = msgspec.structs.replace(head, expects_continue=False)
            self.write(_CONTINUE)
        return rest

    def _more(self, rest: bytes) -> None:
        """What came in one piece with something else. Not read at once where it is a request: that could go deep."""
        if self._state is HEAD:
            self._backlog += rest
            self._loop.call_soon(self._read_backlog)
        else:
            self.data_received(rest)

    def _pass_body(self, data: bytes) -> None:
        body = self._body
        try:
            pieces, used = body.take(data)
        except BadFraming as bad:
            self._bad_body(str(bad))
            return
        if self._state is CALL:
            assert self._call is not None
            self._call.take_body(pieces, last=body.done)
        elif self._state is CONTROL:
            assert self._control is not None
            if not self._control_answered:
                self._since = self._loop.time()
            self._control.data_received(data if used == len(data) else data[:used])
            if body.done and self._control_answered:
                self._next()
        elif body.done and self._state is DISCARD:
            self._next()
        if used < len(data):
            self._more(data[used:])

    def _bad_body(self, reason: str) -> None:
        problem = client_error(400, f"the request body is malformed: {reason}")
        call, self._call = self._call, None
        self._closing = True
        self._body = UntilClose()
        if call is not None and not call.answer_begun:
            provenance = call.provenance()
            call.caller_gone()
            self._refused(problem, provenance)
        elif call is not None:
            call.caller_gone()
            self.transport.abort()
        elif self._state is CONTROL and not self._control_answered:
            self.transport.abort()
        else:
            self.transport.close()

    def _read_backlog(self) -> None:
        if self._state is HEAD and self._backlog and not self.transport.is_closing():
            self._read_head(self._backlog)

    def _await_turn(self, data: bytes) -> None:
        """The caller is ahead: pipelined requests, or bytes for after an upgrade."""
        self._backlog += data
        if len(self._backlog) > _BACKLOG_MAX:
            self.hold(BACKLOG)

    # For the control app

    def _to_control(self, head: RequestHead, raw: bytes, rest: bytes) -> None:
        control = self._control
        if control is None:
            control = ControlSide(
                self._config, self._server_state, self._app_state, answered=self._control_has_answered
            )
            control.connection_made(self.transport)
            self._server_state.connections.discard(control)
            self._control = control
            if self.slow:
                control.pause_writing()
        self._control_answered = False
        if head.upgrade == b"websocket" and self._config.ws_protocol_class is not None:
            self._hand_over(control, raw + rest)
            return
        if self.plane.draining:
            self._closing = True
        self._state, self._since = CONTROL, self._loop.time()
        control.data_received(for_control(head, raw, closing=self.plane.draining))
        if rest:
            self._more(rest)

    def _hand_over(self, control: ControlSide, arrived: bytes) -> None:
        self._state = HANDED
        self._server_state.connections.discard(self)
        self.plane.connections -= 1
        self._server_state.connections.add(control)
        if self._timer is not None:
            self._timer.cancel()
        self.transport.set_protocol(control)
        control.data_received(arrived)

    def _control_has_answered(self) -> None:
        self._control_answered = True
        if self._state is not CONTROL or self.transport.is_closing():
            return
        if self._body.done:
            self._next()
        elif self._head is not None and self._head.expects_continue:
            self.transport.close()  # Nobody can tell whether the body will still come.
        else:
            self._since = self._loop.time()


def http_protocol(plane: DataPlane) -> type[asyncio.Protocol]:
    """What uvicorn takes as `http=`."""
    return type("CausewayFront", (Front,), {"plane": plane, "__slots__": ()})
