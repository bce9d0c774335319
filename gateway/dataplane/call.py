"""One request of a caller, from its head to its end: at replicas, until one has answered or none can.

Where it goes next is `Search`, what happens at a replica an `Attempt`; which state follows which says `states.py`.
Every request ends: answered, refused with a reason, or because its caller left.
"""

from dataclasses import dataclass, field

from gateway.choose import Route
from gateway.dataplane.account import provenance_of, trip_of
from gateway.dataplane.attempt import Attempt
from gateway.dataplane.caller import KEPT
from gateway.dataplane.clock import NEVER
from gateway.dataplane.kept import Failures
from gateway.dataplane.rewrite import Provenance
from gateway.dataplane.search import NO_ROOM, Search
from gateway.dataplane.states import ENDED, PARKED, PEEKING, RESTING, SWITCHED, TRYING
from gateway.errors import Problem, client_error, too_large
from gateway.insight.trip import CLIENT_CLOSED
from gateway.parking import full


@dataclass(slots=True, eq=False)
class Call(Search):
    status: int = field(default=CLIENT_CLOSED, init=False)
    complete: bool = field(default=False, init=False)
    first_byte: float | None = field(default=None, init=False)
    sent_bytes: int = field(default=0, init=False)
    attempt: Attempt | None = field(default=None, init=False)
    attempts: int = field(default=0, init=False)
    _fresh: bool = field(default=False, init=False)
    """On new connections only: an idle one has just broken."""

    @property
    def answer_begun(self) -> bool:
        return self.attempt is not None and self.attempt.answer_begun

    # To a replica

    def attempt_at(self, route: Route) -> None:
        plane = self.plane
        attempt = self.attempt = Attempt(self, route)
        self.phase, self.rested = TRYING, False
        self.attempts += 1
        plane.loads.sent(route.deployment_id, route.replica.replica_id)
        self.wait_for_answer(plane.now())
        # An idle connection may break under a body that is too large to be sent once more.
        large = self.head.chunked or (self.length or 0) > plane.settings.replay_bytes_max
        plane.pool.acquire(route.replica, attempt, self._fresh or large or self.errand.switching)

    def body_taken(self) -> None:
        """A replica has the body so far."""
        body = self.body
        body.sent()
        if self.caller.held:
            self.caller.go_on(KEPT)
        if not body.ended:
            self.stirred()

    def not_tried(self, *, fresh: bool = False) -> None:
        """The attempt was none: the replica left, or an idle connection had ended."""
        self._fresh = self._fresh or fresh
        self.attempts -= 1
        self._leave_replica()
        self.choose()

    @property
    def may_repeat(self) -> bool:
        return self.body.whole and self.attempts < self.plane.settings.attempts_max

    def again(self, reason: str) -> None:
        self.failed()
        self._leave_replica()
        self.plane.counts.retried += 1
        if self.attempts >= self.plane.settings.attempts_max:
            self.end(self.gone(reason))
        else:
            self.choose()

    def failed(self) -> None:
        """By its replica's fault."""
        assert self.attempt is not None
        route = self.attempt.route
        if self.failures is None:
            self.failures = Failures()
        self.failures.replicas.add(route.replica.replica_id)
        self.plane.failed(route)

    def answer_begins(self, status: int) -> None:
        self.answer_by = self.silent_by = NEVER
        self.status, self.first_byte = status, self.plane.now()
        self.body.forget()

    # The caller

    def take_body(self, pieces: list[bytes], *, last: bool) -> None:
        body, settings = self.body, self.plane.settings
        framed = body.add(pieces, last=last)
        if body.received > settings.body_bytes_max:
            self.end(too_large(settings.body_bytes_max, self.length))
            return
        if last and not self.answer_begun:
            self.silent_by = NEVER
        if framed:
            self._send(framed)
        self.look_at_body(pieces)

    def _send(self, framed: bytes) -> None:
        connection = None if self.attempt is None else self.attempt.connection
        if connection is not None:
            connection.send(framed)
            self.body.sent()
        elif self.phase is PARKED and self.stay is not None and not self.stay.hold(len(framed)):
            self.end(full(NO_ROOM))
        elif self.body.is_large and self.phase is not PEEKING:
            self.caller.hold(KEPT)

    def spliced_from_caller(self, arrived: bytes) -> None:
        if self.attempt is not None and self.attempt.connection is not None:
            self.attempt.connection.send(arrived)

    def caller_slow(self) -> None:
        if self.attempt is not None:
            self.attempt.slow()

    def caller_ready(self) -> None:
        if self.attempt is not None:
            self.attempt.ready()

    def caller_gone(self) -> None:
        if self.attempt is not None and self.attempt.progress is SWITCHED:
            self.attempt.hang_up()
        if self.phase is not ENDED:
            self.plane.counts.left += 1
            self.let_go()

    def shut_down(self) -> None:
        """The gateway stops: what has not been sent anywhere is given back, all else finishes."""
        if self.phase in (PARKED, RESTING):
            reason = "this gateway is being restarted: send the request again"
            self.end(Problem(503, "model_unavailable", reason, headers=(("retry-after", "1"),)))

    # Time

    def too_late(self) -> None:
        reason = f"no answer within {self.limits.call_deadline_s:g} s"
        self.end(Problem(504, "timeout", f"{reason} (attempts: {self.attempts})"))

    def over(self) -> None:
        self._cut_short(Problem(504, "timeout", f"the call took more than {self.limits.total_deadline_s:g} s"))

    def fell_silent(self) -> None:
        limit_s = self.limits.idle_timeout_s
        self._cut_short(client_error(408, f"nothing of the request body arrived for {limit_s:g} s"))

    @property
    def stirred_at(self) -> float:
        connection = None if self.attempt is None else self.attempt.connection
        return NEVER if connection is None else connection.stirred_at

    # The end

    def provenance(self) -> Provenance:
        return provenance_of(self)

    def gone(self, reason: str) -> Problem:
        return Problem(502, "model_unavailable", f"{reason} (attempts: {self.attempts})")

    def _cut_short(self, problem: Problem) -> None:
        if self.attempt is not None and self.attempt.progress is SWITCHED:
            self.let_go()
            self.caller.close()
        else:
            self.end(problem)

    def end(self, problem: Problem) -> None:
        if self.answer_begun:
            self.cut()
        elif self.phase is not ENDED:
            provenance = self.provenance()
            self.status, self.complete = problem.status, True
            self.let_go()
            self.caller.respond(problem, provenance)

    def cut(self) -> None:
        """The answer broke off."""
        self.let_go()
        self.plane.counts.cut += 1
        self.caller.abort()

    def let_go(self) -> None:
        """Of everything but the caller."""
        replica_id = None if self.attempt is None else self.attempt.route.replica.replica_id
        self._leave_replica()
        self.leave_places()
        self.phase = ENDED
        self.plane.clock.forget(self)
        self.plane.insight.ended(trip_of(self, replica_id))

    def _leave_replica(self) -> None:
        attempt, self.attempt = self.attempt, None
        if attempt is not None:
            attempt.leave()
            self.silent_by = NEVER
