"""One request of a caller, from its head to the last byte of its answer.

What it is at, and what may come next, says `phase.py`. Every request ends: answered, refused with a reason, or
because its caller left.
"""

import asyncio
import random
from typing import TYPE_CHECKING

from events.base import DeploymentId, ReplicaId
from gateway.addresses import UNNAMED, Address, Unnamed
from gateway.choose import Park, Route, Unroutable, affinity_of
from gateway.dataplane.beginning import Beginning, Seen, beginning_of
from gateway.dataplane.caller import Caller, Hold
from gateway.dataplane.framing import LAST_CHUNK, chunk
from gateway.dataplane.gate import Admitted
from gateway.dataplane.heads import RequestHead, ResponseHead
from gateway.dataplane.kept import Attempts, KeptBody, Stay
from gateway.dataplane.phase import CHOOSING, DIALLING, ENDED, PARKED, PEEKING, RESTING, SENT, SPLICED, STREAMING, Phase
from gateway.dataplane.rewrite import Provenance, answer_for_caller, request_for_replica
from gateway.dataplane.silence import Silence
from gateway.dataplane.upstream import Upstream
from gateway.errors import Problem, client_error, too_large
from gateway.insight.trip import CLIENT_CLOSED, Trace, Trip
from gateway.parking import full

if TYPE_CHECKING:
    from gateway.dataplane.plane import DataPlane

REPEATED = frozenset((502, 503, 504))
SESSION_HEADER = b"x-causeway-session"
_NO_ROOM = "the bodies of waiting requests take all the room there is"


_KEPT, _SLOW = Hold.KEPT, Hold.SLOW


class Call:
    phase: Phase = CHOOSING
    _affinity: bytes | None = None
    """Requests with the same go to the same replica."""
    _beginning: Beginning | None = None
    """Is looked at before it is known where to."""
    _received = 0
    _body_ended = False
    _deployment_id: DeploymentId | None = None
    _counted: tuple[DeploymentId, bool] | None = None
    _route: Route | None = None
    """Of the attempt in progress."""
    _connection: Upstream | None = None
    _timer: asyncio.TimerHandle | None = None
    """Ends parking, or a rest."""
    _deadline: asyncio.TimerHandle | None = None
    """Ends the waiting for an answer; runs from the first attempt."""
    _total: asyncio.TimerHandle | None = None
    """Ends the call, whatever it is at."""
    _silence: Silence | None = None
    """While it is watched that something arrives."""
    _answer_head = b""
    """On its way to the caller together with what follows."""
    _chunked_out = False
    _keep_alive = True
    _trace: Trace | None = None
    _first_byte: float | None = None
    _status = CLIENT_CLOSED
    _sent_bytes = 0
    _complete = False

    def __init__(
        self,
        plane: "DataPlane",
        caller: Caller,
        head: RequestHead,
        length: int | None,
        where: Address | Unnamed,
        request_id: str,
        admitted: Admitted,
    ) -> None:
        self._plane, self._caller = plane, caller
        self._admitted = admitted
        self._head, self._length = head, length
        self._address = where if isinstance(where, Address) else Address(UNNAMED, "openai", where.upstream)
        self._loop, self._settings = plane.loop, plane.settings
        self.request_id = request_id
        self._switching = head.upgrade == b"websocket" and self._address.verb in ("websocket", "sync")
        self._kept = KeptBody(self._settings.replay_bytes_max)
        self._stay = Stay(plane.parking, self._loop.time)
        self._attempts = Attempts()
        self._limits = plane.limits(self._address.target)
        self._answer_within_s = self._limits.call_deadline_s
        self._position = plane.position
        self._began = self._loop.time()
        self._prepare(head)

    def _prepare(self, head: RequestHead) -> None:
        """What only some requests have."""
        prefix_bytes, insight = self._limits.prefix_affinity_bytes, self._plane.insight
        needs_name = self._address.target is UNNAMED
        if SESSION_HEADER in head.noted:
            self._affinity = affinity_of(head.value(SESSION_HEADER))
            prefix_bytes = 0
        if needs_name or prefix_bytes:
            self._beginning = beginning_of(self._address, needs_name=needs_name, prefix_bytes=prefix_bytes)
        if insight.traces:
            self._trace = insight.trace(head.value(b"traceparent"))

    @property
    def answer_begun(self) -> bool:
        return self.phase in (STREAMING, SPLICED)

    # Where to

    def start(self) -> None:
        """After as much of the body as came together with the head."""
        if self.phase is ENDED:
            return
        if self._length is not None and self._length > self._settings.body_bytes_max:
            self._end(too_large(self._settings.body_bytes_max, self._length))
        elif self._beginning is not None:
            self.phase = PEEKING
            self._timer = self._loop.call_later(self._settings.head_timeout_s, self._peek_over)
            self._peek(self._beginning)
        else:
            self.choose()

    def _peek(self, beginning: Beginning) -> None:
        seen = beginning.look(ended=self._body_ended)
        if seen is None:
            return
        self._stop_timer()
        self._beginning = None
        problem = seen if isinstance(seen, Problem) else self._name(seen.name)
        if problem is not None:
            self._end(problem)
            return
        if isinstance(seen, Seen) and seen.prefix is not None:
            self._affinity = affinity_of(seen.prefix)
        self.choose()

    def _name(self, name: str | None) -> Problem | None:
        if name is None:
            return None
        gate = self._plane.gate
        target = gate.named(name)
        if isinstance(target, Problem):
            return target
        self._address = Address(target, self._address.verb, self._address.upstream)
        self._limits = self._plane.limits(target)
        self._answer_within_s = self._limits.call_deadline_s
        return gate.refusal(self._admitted.key, target)

    def _peek_over(self) -> None:
        limit_s = self._settings.head_timeout_s
        self._end(client_error(408, f"the beginning of the body did not arrive within {limit_s:g} s"))

    def choose(self, *, turn_has_come: bool = False) -> None:
        self.phase = CHOOSING
        choice = self._plane.choose(self._address.target, self._affinity, turn_has_come=turn_has_come)
        self._position = self._plane.position
        match choice:
            case Unroutable(problem=problem):
                self._end(problem)
            case Park():
                self._park(choice)
            case Route() if self._attempts.must_rest(choice.replica.replica_id):
                self._count(choice.deployment_id)
                self._rest()
            case Route():
                self._count(choice.deployment_id)
                self._attempt(choice)

    def reconsider(self) -> None:
        """The table changed while this request rests: it goes on if there is something that it has not tried."""
        choice = self._plane.choose(self._address.target, self._affinity)
        if not isinstance(choice, Route) or choice.replica.replica_id not in self._attempts.failed:
            self._stop_timer()
            self._plane.resting.pop(self, None)
            self.choose()

    def _count(self, deployment_id: DeploymentId | None, *, parked: bool = False) -> None:
        now = None if deployment_id is None else (deployment_id, parked)
        if now == self._counted:
            return
        loads, before = self._plane.loads, self._counted
        if before is not None:
            loads.leave(before[0], parked=before[1])
        if now is not None:
            self._deployment_id = now[0]
            loads.enter(now[0], parked=parked)
        self._counted = now

    # Parked

    def _park(self, choice: Park) -> None:
        deployment_id = self._deployment_id = choice.deployment_id
        left_s = self._limits.park_deadline_s - self._stay.spent_s
        problem = self._not_ready(deployment_id) if left_s <= 0 else None
        problem = problem or self._stay.begin(self._address.target, self, deployment_id)
        if problem is not None:
            self._end(problem)
            return
        self.phase = PARKED
        self._count(deployment_id, parked=True)
        self._plane.parked(deployment_id)
        self._plane.counts.parked += 1
        self._pause_deadline()
        if not choice.full:
            self._attempts.failed.clear()
        self._timer = self._loop.call_later(left_s, self._park_over)
        if not self._stay.hold(self._kept.size):
            self._end(full(_NO_ROOM))

    def unparked(self) -> None:
        self._leave_lot()
        self.choose(turn_has_come=True)

    def moved(self, deployment_id: DeploymentId) -> None:
        """What it waits for is another deployment now."""
        self._count(deployment_id, parked=True)

    def _leave_lot(self) -> None:
        self._stop_timer()
        self._stay.end()
        self.phase = CHOOSING

    def _park_over(self) -> None:
        ticket = self._stay.ticket
        assert ticket is not None
        self._end(self._not_ready(ticket.deployment_id))

    def _not_ready(self, deployment_id: DeploymentId) -> Problem:
        return self._plane.not_ready(deployment_id, self._limits.park_deadline_s)

    # To a replica

    def _attempt(self, route: Route) -> None:
        self.phase, self._route = DIALLING, route
        self._attempts.begin()
        self._plane.loads.sent(route.deployment_id, route.replica.replica_id)
        if self._deadline is None:
            self._deadline = self._loop.call_later(self._answer_within_s, self._too_late)
        if self._total is None and self._limits.total_deadline_s is not None:
            self._total = self._loop.call_later(self._limits.total_deadline_s, self._all_over)
        # An idle connection may break under a body that is too large to be sent once more.
        large = self._head.chunked or (self._length or 0) > self._settings.replay_bytes_max
        self._plane.pool.acquire(route.replica, self, fresh=self._attempts.fresh or large or self._switching)

    def connected(self, connection: Upstream) -> None:
        self.phase, self._connection = SENT, connection
        head = request_for_replica(
            self._head,
            self._length,
            self._address.upstream,
            peer=self._caller.peer,
            scheme=self._caller.scheme,
            request_id=self.request_id,
            switching=self._switching,
            traceparent=None if self._trace is None else self._trace.traceparent,
        )
        request = b"".join((head, *self._kept.pieces))
        connection.begin(self, self._head.method, request, switching=self._switching)
        self._kept.sent()
        self._caller.go_on(_KEPT)
        if not self._body_ended:
            self._stirred()

    def connect_failed(self, reason: str) -> None:
        self._again(f"replica cannot be reached: {reason}")

    def replica_gone(self) -> None:
        self._attempts.count -= 1
        self._leave_replica()
        self.choose()

    def upstream_lost(self, reason: str) -> None:
        if self.phase is SPLICED:
            self._detach()
            self._caller.close()
        elif self.phase is STREAMING:
            self._detach()
            self._plane.counts.cut += 1
            self._caller.abort()
        elif not self._kept.whole:
            self._failed()
            self._end(self._gone(f"the replica failed after part of the body was sent to it: {reason}"))
        elif self._connection is not None and self._connection.used > 1:
            # The replica closed an idle connection just then: no failure of its own.
            self._attempts.fresh = True
            self.replica_gone()
        else:
            self._again(f"replica failed: {reason}")

    def _again(self, reason: str) -> None:
        self._failed()
        self._leave_replica()
        self._plane.counts.retried += 1
        if self._attempts.count >= self._settings.attempts_max:
            self._end(self._gone(reason))
        else:
            self.choose()

    def _failed(self) -> None:
        assert self._route is not None
        self._attempts.failed.add(self._route.replica.replica_id)
        self._plane.failed(self._route)

    def _heard_of(self) -> None:
        """The replica answers, whatever it says."""
        assert self._route is not None
        self._plane.loads.circuits.answered(self._route.replica.replica_id)

    def _rest(self) -> None:
        settings = self._settings
        pause_s = self._attempts.pause_s(settings.retry_delay_s, settings.retry_growth, settings.retry_delay_cap_s)
        self.phase = RESTING
        self._plane.resting[self] = None
        self._timer = self._loop.call_later(pause_s * random.uniform(0.75, 1.25), self._rest_over)

    def _rest_over(self) -> None:
        self._timer = None
        self._plane.resting.pop(self, None)
        self._attempts.rested = True
        self.choose()

    def _too_late(self) -> None:
        if self.phase < STREAMING:
            reason = f"no answer within {self._limits.call_deadline_s:g} s"
            self._end(Problem(504, "timeout", f"{reason} (attempts: {self._attempts.count})"))

    def _all_over(self) -> None:
        self._cut(Problem(504, "timeout", f"the call took more than {self._limits.total_deadline_s:g} s"))

    def _fell_silent(self) -> None:
        limit_s = self._limits.idle_timeout_s
        self._cut(client_error(408, f"nothing of the request body arrived for {limit_s:g} s"))

    def _cut(self, problem: Problem) -> None:
        if self.phase is SPLICED:
            self._detach()
            self._caller.close()
        else:
            self._end(problem)

    # The body

    def body(self, pieces: list[bytes]) -> None:
        for piece in pieces:
            self._received += len(piece)
        if self._received > self._settings.body_bytes_max:
            self._end(too_large(self._settings.body_bytes_max, self._length))
        else:
            framed = [chunk(piece) for piece in pieces] if self._head.chunked else pieces
            if self._beginning is not None:
                self._beginning.add(pieces)
            self._send(framed[0] if len(framed) == 1 else b"".join(framed))
            if self.phase is PEEKING and self._beginning is not None:
                self._peek(self._beginning)

    def body_ended(self) -> None:
        self._body_ended = True
        if self._head.chunked:
            self._send(LAST_CHUNK)
        if self.phase is PEEKING and self._beginning is not None:
            self._peek(self._beginning)
        self._stop_silence()

    def _send(self, framed: bytes) -> None:
        if self.phase is ENDED or not framed:
            return
        connection, kept = self._connection, self._kept
        kept.add(framed)
        if connection is not None:
            self._stirred()
            connection.transport.write(framed)
            kept.sent()
        elif self.phase is PARKED and not self._stay.hold(len(framed)):
            self._end(full(_NO_ROOM))
        elif kept.is_large and self.phase is not PEEKING:
            self._caller.hold(_KEPT)

    # The answer

    def answered(self, head: ResponseHead, length: int | None) -> bool:
        if head.status in REPEATED and self._kept.whole and self._attempts.count < self._settings.attempts_max:
            self._again(f"replica answered {head.status}")
            return False
        self._stop_deadline()
        if head.status in REPEATED:
            self._failed()
        else:
            self._heard_of()
        self.phase = STREAMING
        self._status, self._first_byte = head.status, self._loop.time()
        self._kept.forget()
        bodyless = self._head.method == "HEAD" or head.status in (204, 304)
        self._chunked_out = not bodyless and length is None and not self._head.http10
        sized = bodyless or length is not None or self._chunked_out
        self._keep_alive = sized and self._caller.keeps_alive
        out = answer_for_caller(head, length, self.provenance(), chunked=self._chunked_out, keep_alive=self._keep_alive)
        self._answer_head = out
        if self._caller.slow:
            self.caller_slow()
        return True

    def answer(self, pieces: list[bytes], last: bool) -> None:
        for piece in pieces:
            self._sent_bytes += len(piece)
        out = [chunk(piece) for piece in pieces] if self._chunked_out else pieces
        if last and self._chunked_out:
            out = [*out, LAST_CHUNK]
        if self._answer_head:
            out = [self._answer_head, *out]
            self._answer_head = b""
        if out:
            self._caller.write(out[0] if len(out) == 1 else b"".join(out))
        if not last:
            self._stirred()
        else:
            if self._caller.slow:
                self.caller_ready()  # What the connection is used for next must not wait for this caller.
            connection, self._connection = self._connection, None
            assert connection is not None
            self._plane.counts.answered += 1
            self._complete = True
            self._detach()
            self._plane.pool.release(connection, reusable=connection.reusable and self._body_ended)
            self._caller.answered(keep_alive=self._keep_alive)

    def switched(self, head: ResponseHead, arrived: bytes) -> None:
        self._stop_deadline()
        self._heard_of()
        self.phase = SPLICED
        self._status, self._first_byte, self._complete = head.status, self._loop.time(), True
        if self._deployment_id is not None:
            self._plane.insight.switched(self._deployment_id, 1)
        self._caller.write(answer_for_caller(head, None, self.provenance(), chunked=False, keep_alive=True) + arrived)
        self._stirred()
        self._caller.splice()

    def spliced(self, arrived: bytes) -> None:
        self._stirred()
        self._caller.write(arrived)

    def spliced_from_caller(self, arrived: bytes) -> None:
        self._stirred()
        if self._connection is not None:
            self._connection.transport.write(arrived)

    # Pace

    def upstream_slow(self) -> None:
        self._caller.hold(_SLOW)

    def upstream_ready(self) -> None:
        self._caller.go_on(_SLOW)

    def caller_slow(self) -> None:
        if self._connection is not None:
            self._connection.transport.pause_reading()

    def caller_ready(self) -> None:
        if self._connection is not None and not self._connection.transport.is_closing():
            self._connection.transport.resume_reading()

    # The end

    def caller_gone(self) -> None:
        if self.phase is SPLICED and self._connection is not None:
            self._connection.close()  # Not abort: the caller's last words are still on their way.
            self._connection = None
        if self.phase is not ENDED:
            self._plane.counts.left += 1
            self._detach()

    def shut_down(self) -> None:
        """The gateway stops: what has not been sent anywhere is given back, all else finishes."""
        if self.phase in (PARKED, RESTING):
            reason = "this gateway is being restarted: send the request again"
            self._end(Problem(503, "model_unavailable", reason, headers=(("retry-after", "1"),)))

    def provenance(self) -> Provenance:
        return Provenance(
            self.request_id,
            self._deployment_id,
            self._route.replica.replica_id if self._route is not None else None,
            self._position,
            self._attempts.count,
            round(self._stay.spent_s * 1000),
            self._stay.queue_position,
            self._plane.stale_s(),
            self._admitted.limits,
        )

    def _gone(self, reason: str) -> Problem:
        return Problem(502, "model_unavailable", f"{reason} (attempts: {self._attempts.count})")

    def _end(self, problem: Problem) -> None:
        if self.phase is STREAMING:
            self._detach()
            self._plane.counts.cut += 1
            self._caller.abort()
        elif self.phase is not ENDED:
            provenance = self.provenance()
            self._status, self._complete = problem.status, True
            self._detach()
            self._caller.respond(problem, provenance)

    def _detach(self) -> None:
        """Lets go of everything but the caller."""
        replica_id = None if self._route is None else self._route.replica.replica_id
        if self.phase is SPLICED and self._deployment_id is not None:
            self._plane.insight.switched(self._deployment_id, -1)
        if self.phase is PARKED:
            self._leave_lot()
        elif self.phase is RESTING:
            self._plane.resting.pop(self, None)
        if self._timer is not None:
            self._stop_timer()
        if self._deadline is not None:
            self._stop_deadline()
        if self._silence is not None:
            self._stop_silence()
        if self._total is not None:
            self._total.cancel()
        self._leave_replica()
        self._count(None)
        self.phase = ENDED
        self._kept.forget()
        self._plane.insight.ended(self._trip(replica_id))

    def _trip(self, replica_id: ReplicaId | None) -> Trip:
        return Trip(
            self._address.target,
            self._address.verb,
            self._head.method,
            self.request_id,
            self._deployment_id,
            replica_id,
            self._status,
            self._complete,
            self._began,
            self._first_byte,
            self._loop.time(),
            self._stay.spent_s,
            self._attempts.count,
            self._received,
            self._sent_bytes,
            self._trace,
            self._position,
        )

    def _leave_replica(self) -> None:
        route, self._route = self._route, None
        if route is None:
            return
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()
        elif self.phase is DIALLING:
            self._plane.pool.forget(route.replica, self)
        self._plane.done(route)
        self._caller.go_on(_SLOW)

    def _stirred(self) -> None:
        """Something arrives; from now on it would be noticed if nothing did."""
        if self._silence is None:
            self._silence = Silence(self._loop, self._limits.idle_timeout_s, self._fell_silent)
            self._silence.watch()
        else:
            self._silence.stirred = True

    def _stop_silence(self) -> None:
        if self._silence is not None:
            self._silence.stop()
            self._silence = None

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _pause_deadline(self) -> None:
        """While it waits for a slot, no replica is to blame."""
        if self._deadline is not None:
            self._answer_within_s = max(0.0, self._deadline.when() - self._loop.time())
            self._stop_deadline()

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
