"""One attempt of a call at one replica: from the wait for a connection to the last byte of the answer.

What it is at, and what may come next, says `states.py`. Until the head of an answer that is wanted has come, an attempt
may fail without the caller's notice; the call then decides what is next.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.choose import Route
from gateway.dataplane.account import provenance_of
from gateway.dataplane.caller import SLOW
from gateway.dataplane.heads import ResponseHead
from gateway.dataplane.rewrite import answer_for_caller, request_for_replica
from gateway.dataplane.states import DIALLING, SENT, STREAMING, SWITCHED, Progress
from gateway.dataplane.upstream import Upstream

if TYPE_CHECKING:
    from gateway.dataplane.call import Call

REPEATED = frozenset((502, 503, 504))


@dataclass(slots=True, eq=False)
class Attempt:
    _call: "Call"
    route: Route
    progress: Progress = field(default=DIALLING, init=False)
    connection: Upstream | None = field(default=None, init=False)
    _keep_alive: bool = field(default=True, init=False)

    @property
    def answer_begun(self) -> bool:
        return self.progress >= STREAMING

    # The connection

    def connected(self, connection: Upstream) -> None:
        call = self._call
        self.progress, self.connection = SENT, connection
        head = request_for_replica(
            call.head,
            call.length,
            call.address.upstream,
            call.caller.peer,
            call.caller.scheme,
            call.request_id,
            call.errand.switching,
            None if call.trace is None else call.trace.traceparent,
        )
        pieces = call.body.pieces
        request = head + pieces[0] if len(pieces) == 1 else b"".join((head, *pieces))
        connection.begin(self, call.head.method, request, call.errand.switching)
        call.body_taken()

    def connect_failed(self, reason: str) -> None:
        self._call.again(f"replica cannot be reached: {reason}")

    def replica_gone(self) -> None:
        self._call.not_tried()

    def upstream_lost(self, reason: str) -> None:
        call = self._call
        if self.progress is SWITCHED:
            call.let_go()
            call.caller.close()
        elif self.progress is STREAMING:
            call.cut()
        elif not call.body.whole:
            call.failed()
            call.end(call.gone(f"the replica failed after part of the body was sent to it: {reason}"))
        elif self.connection is not None and self.connection.used > 1:
            # The replica closed an idle connection just then: no failure of its own.
            call.not_tried(fresh=True)
        else:
            call.again(f"replica failed: {reason}")

    def hang_up(self) -> None:
        """Not at once: the caller's last words are still on their way."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def leave(self) -> None:
        """The replica is told, its slot is free."""
        call = self._call
        if self.progress is SWITCHED:
            call.plane.insight.switched(self.route.deployment_id, -1)
        if self.connection is not None:
            if self.progress is STREAMING:
                call.sent_bytes = self.connection.relayed
            self.connection.abort()
        elif self.progress is DIALLING:
            call.plane.pool.forget(self.route.replica, self)
        call.plane.done(self.route)
        if call.caller.held:
            call.caller.go_on(SLOW)

    # The answer

    def answered(self, head: ResponseHead, length: int | None) -> None:
        call, connection = self._call, self.connection
        assert connection is not None
        if head.status in REPEATED:
            if call.may_repeat:
                call.again(f"replica answered {head.status}")
                return
            call.failed()
        else:
            call.plane.answered(self.route)
        self.progress = STREAMING
        call.answer_begins(head.status)
        bodyless = head.bodyless or call.head.method == "HEAD"
        chunked = not bodyless and length is None and not call.head.http10
        self._keep_alive = (bodyless or chunked or length is not None) and call.caller.keeps_alive
        out = answer_for_caller(head, length, provenance_of(call), chunked, self._keep_alive)
        connection.relay(call.caller.write, out, chunked)
        if call.caller.slow:
            connection.transport.pause_reading()

    def switched(self, head: ResponseHead) -> None:
        call, connection = self._call, self.connection
        assert connection is not None
        call.plane.answered(self.route)
        self.progress = SWITCHED
        call.answer_begins(head.status)
        call.plane.insight.switched(self.route.deployment_id, 1)
        out = answer_for_caller(head, None, provenance_of(call), False, True)
        connection.relay(call.caller.write, out, False)

    def answering(self) -> None:
        self._call.stirred()
        if self.progress is SWITCHED:
            self._call.caller.splice()

    def complete(self) -> None:
        call, connection = self._call, self.connection
        assert connection is not None
        if call.caller.slow:
            self.ready()  # What the connection is used for next must not wait for this caller.
        call.sent_bytes = connection.relayed
        self.connection = None
        call.plane.counts.answered += 1
        call.complete = True
        call.let_go()
        call.plane.pool.release(connection, connection.reusable and call.body.ended)
        call.caller.answered(self._keep_alive)

    # Pace

    def upstream_slow(self) -> None:
        self._call.caller.hold(SLOW)

    def upstream_ready(self) -> None:
        self._call.caller.go_on(SLOW)

    def slow(self) -> None:
        """The caller takes the answer slowly."""
        if self.connection is not None:
            self.connection.transport.pause_reading()

    def ready(self) -> None:
        if self.connection is not None and not self.connection.transport.is_closing():
            self.connection.transport.resume_reading()
