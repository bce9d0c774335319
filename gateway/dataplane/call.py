"""One request of a caller, from its head to its end: where it goes, how long it waits, and whether it is tried again.

What it is at, and what may come next, says `states.py`; what happens at a replica is an `Attempt`. Every request ends:
answered, refused with a reason, or because its caller left.
"""

import random
from typing import TYPE_CHECKING

from events.base import DeploymentId
from gateway.addresses import UNNAMED, Address, Unnamed
from gateway.choose import Park, Route, Unroutable, affinity_of
from gateway.dataplane.account import provenance_of, trip_of
from gateway.dataplane.attempt import Attempt
from gateway.dataplane.beginning import Beginning, Seen, beginning_of
from gateway.dataplane.caller import Caller, Hold
from gateway.dataplane.clock import NEVER
from gateway.dataplane.gate import Admitted
from gateway.dataplane.heads import RequestHead
from gateway.dataplane.kept import Body, Failures, Stay
from gateway.dataplane.limits import Limited
from gateway.dataplane.rewrite import Provenance
from gateway.dataplane.states import CHOOSING, ENDED, PARKED, PEEKING, RESTING, SWITCHED, TRYING, Phase
from gateway.errors import Problem, client_error, too_large
from gateway.insight.trip import CLIENT_CLOSED, Trace
from gateway.parking import full

if TYPE_CHECKING:
    from gateway.dataplane.plane import DataPlane

SESSION_HEADER = b"x-causeway-session"
_NO_ROOM = "the bodies of waiting requests take all the room there is"


class Call(Limited):
    phase: Phase = CHOOSING
    trace: Trace | None = None
    status = CLIENT_CLOSED
    complete = False
    first_byte: float | None = None
    sent_bytes = 0
    attempt: Attempt | None = None
    attempts = 0
    _fresh = False
    """On new connections only: an idle one has just broken."""
    _failures: Failures | None = None
    _rested = False
    stay: Stay | None = None
    deployment_id: DeploymentId | None = None
    _counted: tuple[DeploymentId, bool] | None = None
    _affinity: bytes | None = None
    """Requests with the same go to the same replica."""
    _beginning: Beginning | None = None
    """Is looked at before it is known where to."""

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
        self.plane, self.caller = plane, caller
        self.head, self.length = head, length
        self.request_id = request_id
        self.admitted = admitted
        self.address = where if isinstance(where, Address) else Address(UNNAMED, "openai", where.upstream)
        self.switching = head.upgrade == b"websocket" and self.address.verb in ("websocket", "sync")
        self.body = Body(plane.settings.replay_bytes_max, chunked=head.chunked)
        self._arrival = plane.parking.arrival()
        self.limits = plane.limits(self.address.target)
        self.answer_within_s = self.limits.call_deadline_s
        self.position = plane.position
        self.began = plane.now()
        self._prepare(head)

    def _prepare(self, head: RequestHead) -> None:
        """What only some requests have."""
        prefix_bytes, insight = self.limits.prefix_affinity_bytes, self.plane.insight
        needs_name = self.address.target is UNNAMED
        if SESSION_HEADER in head.noted:
            self._affinity = affinity_of(head.value(SESSION_HEADER))
            prefix_bytes = 0
        if needs_name or prefix_bytes:
            self._beginning = beginning_of(self.address, needs_name=needs_name, prefix_bytes=prefix_bytes)
        if insight.traces:
            self.trace = insight.trace(head.value(b"traceparent"))

    @property
    def answer_begun(self) -> bool:
        return self.attempt is not None and self.attempt.answer_begun

    # Where to

    def start(self) -> None:
        """After as much of the body as came together with the head."""
        body_bytes_max = self.plane.settings.body_bytes_max
        if self.phase is ENDED:
            return
        if self.length is not None and self.length > body_bytes_max:
            self.end(too_large(body_bytes_max, self.length))
        elif self._beginning is not None:
            self.phase = PEEKING
            self.wait(self.plane.settings.head_timeout_s)
            self._peek(self._beginning)
        else:
            self.choose()

    def _peek(self, beginning: Beginning) -> None:
        seen = beginning.look(ended=self.body.ended)
        if seen is None:
            return
        self._beginning = None
        problem = seen if isinstance(seen, Problem) else self._name(seen.name)
        if problem is not None:
            self.end(problem)
            return
        if isinstance(seen, Seen) and seen.prefix is not None:
            self._affinity = affinity_of(seen.prefix)
        self.choose()

    def _name(self, name: str | None) -> Problem | None:
        if name is None:
            return None
        gate = self.plane.gate
        target = gate.named(name)
        if isinstance(target, Problem):
            return target
        self.address = Address(target, self.address.verb, self.address.upstream)
        self.limits = self.plane.limits(target)
        self.answer_within_s = self.limits.call_deadline_s
        return gate.refusal(self.admitted.key, target)

    def choose(self, *, turn_has_come: bool = False) -> None:
        self.phase, self.wait_until = CHOOSING, NEVER
        choice = self.plane.choose(self.address.target, self._affinity, turn_has_come=turn_has_come)
        self.position = self.plane.position
        match choice:
            case Route():
                self._count(choice.deployment_id)
                if self._failed_at(choice) and not self._rested:
                    self._rest()
                else:
                    self._try(choice)
            case Park():
                self._park(choice)
            case Unroutable(problem=problem):
                self.end(problem)

    def _count(self, deployment_id: DeploymentId | None, *, parked: bool = False) -> None:
        now = None if deployment_id is None else (deployment_id, parked)
        if now == self._counted:
            return
        loads, before = self.plane.loads, self._counted
        if before is not None:
            loads.leave(before[0], parked=before[1])
        if now is not None:
            self.deployment_id = now[0]
            loads.enter(now[0], parked=parked)
        self._counted = now

    # Parked

    def _park(self, choice: Park) -> None:
        plane, deployment_id = self.plane, choice.deployment_id
        self.deployment_id = deployment_id
        if self.stay is None:
            self.stay = Stay(plane.parking, plane.now, self.began, self._arrival)
        left_s = self.limits.park_deadline_s - self.stay.spent_s
        problem = self._not_ready(deployment_id) if left_s <= 0 else None
        problem = problem or self.stay.begin(self.address.target, self, deployment_id)
        if problem is not None:
            self.end(problem)
            return
        self.phase = PARKED
        self._count(deployment_id, parked=True)
        plane.parked(deployment_id)
        plane.counts.parked += 1
        self.stop_waiting_for_answer(plane.now())
        if not choice.full:
            self._failures = None
        self.wait(left_s)
        if not self.stay.hold(self.body.size):
            self.end(full(_NO_ROOM))

    def unparked(self) -> None:
        self._leave_lot()
        self.choose(turn_has_come=True)

    def moved(self, deployment_id: DeploymentId) -> None:
        """What it waits for is another deployment now."""
        self._count(deployment_id, parked=True)

    def _leave_lot(self) -> None:
        assert self.stay is not None
        self.stay.end()
        self.phase = CHOOSING

    def _not_ready(self, deployment_id: DeploymentId) -> Problem:
        return self.plane.not_ready(deployment_id, self.limits.park_deadline_s)

    # To a replica

    def _try(self, route: Route) -> None:
        plane = self.plane
        attempt = self.attempt = Attempt(self, route)
        self.phase, self._rested = TRYING, False
        self.attempts += 1
        plane.loads.sent(route.deployment_id, route.replica.replica_id)
        self.wait_for_answer(plane.now())
        # An idle connection may break under a body that is too large to be sent once more.
        large = self.head.chunked or (self.length or 0) > plane.settings.replay_bytes_max
        plane.pool.acquire(route.replica, attempt, fresh=self._fresh or large or self.switching)

    def body_taken(self) -> None:
        """A replica has the body so far."""
        self.body.sent()
        self.caller.go_on(Hold.KEPT)
        if not self.body.ended:
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
        if self._failures is None:
            self._failures = Failures()
        self._failures.replicas.add(route.replica.replica_id)
        self.plane.failed(route)

    def _failed_at(self, route: Route) -> bool:
        return self._failures is not None and route.replica.replica_id in self._failures.replicas

    def _rest(self) -> None:
        assert self._failures is not None
        settings = self.plane.settings
        pause_s = self._failures.pause_s(settings.retry_delay_s, settings.retry_growth, settings.retry_delay_cap_s)
        self.phase = RESTING
        self.plane.resting[self] = None
        self.wait(pause_s * random.uniform(0.75, 1.25))

    def reconsider(self) -> None:
        """The table changed while this request rests: it goes on if there is something that it has not tried."""
        choice = self.plane.choose(self.address.target, self._affinity)
        if not isinstance(choice, Route) or not self._failed_at(choice):
            self.plane.resting.pop(self, None)
            self.choose()

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
        if self._beginning is not None:
            self._beginning.add(pieces)
            if self.phase is PEEKING:
                self._peek(self._beginning)

    def _send(self, framed: bytes) -> None:
        connection = None if self.attempt is None else self.attempt.connection
        if connection is not None:
            connection.send(framed)
            self.body.sent()
        elif self.phase is PARKED and self.stay is not None and not self.stay.hold(len(framed)):
            self.end(full(_NO_ROOM))
        elif self.body.is_large and self.phase is not PEEKING:
            self.caller.hold(Hold.KEPT)

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

    def waited(self) -> None:
        if self.phase is PEEKING:
            limit_s = self.plane.settings.head_timeout_s
            self.end(client_error(408, f"the beginning of the body did not arrive within {limit_s:g} s"))
        elif self.phase is PARKED:
            assert self.deployment_id is not None
            self.end(self._not_ready(self.deployment_id))
        elif self.phase is RESTING:
            self.plane.resting.pop(self, None)
            self._rested = True
            self.choose()

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
        if self.phase is PARKED:
            self._leave_lot()
        elif self.phase is RESTING:
            self.plane.resting.pop(self, None)
        replica_id = None if self.attempt is None else self.attempt.route.replica.replica_id
        self._leave_replica()
        self._count(None)
        self.phase = ENDED
        self.plane.clock.forget(self)
        self.body.forget()
        self.plane.insight.ended(trip_of(self, replica_id))

    def _leave_replica(self) -> None:
        attempt, self.attempt = self.attempt, None
        if attempt is not None:
            attempt.leave()
            self.silent_by = NEVER
