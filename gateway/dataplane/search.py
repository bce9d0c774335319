"""Where a request goes: it peeks where its body says so, chooses, waits its turn, and rests after failures.

The first half of a call's life (`call.py` is the other): all that happens while no replica has it. Which state follows
which says `states.py`.
"""

import random
from dataclasses import dataclass, field

from events.base import DeploymentId, Position
from gateway.addresses import UNNAMED, Address
from gateway.choose import Park, Route, Unroutable, affinity_of
from gateway.dataplane.beginning import Beginning, Seen, beginning_of
from gateway.dataplane.caller import Caller
from gateway.dataplane.clock import NEVER
from gateway.dataplane.gate import Errand, Ration
from gateway.dataplane.heads import RequestHead
from gateway.dataplane.kept import Body, Failures, Stay
from gateway.dataplane.limits import Limited
from gateway.dataplane.states import CHOOSING, ENDED, PARKED, PEEKING, RESTING, Phase
from gateway.errors import Problem, client_error, too_large
from gateway.insight.trip import Trace
from gateway.parking import full

NO_ROOM = "the bodies of waiting requests take all the room there is"


@dataclass(slots=True, eq=False)
class Search(Limited):
    caller: Caller
    head: RequestHead
    length: int | None
    errand: Errand
    address: Address
    request_id: str
    ration: Ration
    body: Body
    """So far, or all of it."""
    phase: Phase = field(default=CHOOSING, init=False)
    began: float = field(init=False)
    position: Position = field(init=False)
    """Of the log, by which it was routed last."""
    trace: Trace | None = field(default=None, init=False)
    stay: Stay | None = field(default=None, init=False)
    deployment_id: DeploymentId | None = field(default=None, init=False)
    failures: Failures | None = field(default=None, init=False)
    rested: bool = field(default=False, init=False)
    """And may try a replica again at which it failed."""
    _arrival: int = field(init=False)
    _counted: tuple[DeploymentId, bool] | None = field(default=None, init=False)
    _affinity: bytes | None = field(init=False)
    """Requests with the same go to the same replica."""
    _beginning: Beginning | None = field(default=None, init=False)
    """Is looked at before it is known where to."""

    def __post_init__(self) -> None:
        plane, limits = self.plane, self.limits
        self._arrival = plane.counts.requests
        self.answer_within_s = limits.call_deadline_s
        self.position = plane.routing.position
        self.began = plane.now()
        self._affinity = self.errand.affinity
        if plane.insight.traces:
            self.trace = plane.insight.trace(self.head.value(b"traceparent"))
        if limits.prefix_affinity_bytes or self.address.target is UNNAMED:
            self._look_at_beginning(self.body.pieces)

    def _look_at_beginning(self, pieces: list[bytes]) -> None:
        prefix_bytes = self.limits.prefix_affinity_bytes if self._affinity is None else 0
        needs_name = self.address.target is UNNAMED
        self._beginning = beginning_of(self.address, needs_name=needs_name, prefix_bytes=prefix_bytes)
        if self._beginning is not None:
            self._beginning.add(pieces)

    def attempt_at(self, route: Route) -> None:
        raise NotImplementedError

    def end(self, problem: Problem) -> None:
        raise NotImplementedError

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
        self.limits = gate.limits(target)
        self.answer_within_s = self.limits.call_deadline_s
        return gate.refusal(self.errand.key, target)

    def choose(self, *, turn_has_come: bool = False) -> None:
        self.phase, self.wait_until = CHOOSING, NEVER
        choice = self.plane.choose(self.address.target, self._affinity, turn_has_come)
        self.position = self.plane.routing.position
        match choice:
            case Route():
                self._count(choice.deployment_id)
                if self.failures is not None and self._failed_at(choice) and not self.rested:
                    self._rest()
                else:
                    self.attempt_at(choice)
            case Park():
                self._park(choice)
            case Unroutable(problem=problem):
                self.end(problem)

    def _count(self, deployment_id: DeploymentId, *, parked: bool = False) -> None:
        now, before = (deployment_id, parked), self._counted
        if now == before:
            return
        loads = self.plane.loads
        if before is not None:
            loads.leave(before[0], parked=before[1])
        loads.enter(deployment_id, parked)
        self.deployment_id, self._counted = deployment_id, now

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
        if not choice.full and self.failures is not None:
            self.failures.replicas.clear()
        self.wait(left_s)
        if not self.stay.hold(self.body.size):
            self.end(full(NO_ROOM))

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

    def look_at_body(self, pieces: list[bytes]) -> None:
        if self._beginning is not None:
            self._beginning.add(pieces)
            if self.phase is PEEKING:
                self._peek(self._beginning)

    # Resting

    def _failed_at(self, route: Route) -> bool:
        return self.failures is not None and route.replica.replica_id in self.failures.replicas

    def _rest(self) -> None:
        assert self.failures is not None
        settings = self.plane.settings
        pause_s = self.failures.pause_s(settings.retry_delay_s, settings.retry_growth, settings.retry_delay_cap_s)
        self.phase = RESTING
        self.plane.resting[self] = None
        self.wait(pause_s * random.uniform(0.75, 1.25))

    def reconsider(self) -> None:
        """The table changed while this request rests: it goes on if there is something that it has not tried."""
        choice = self.plane.choose(self.address.target, self._affinity)
        if not isinstance(choice, Route) or not self._failed_at(choice):
            self.plane.resting.pop(self, None)
            self.choose()

    def waited(self) -> None:
        if self.phase is PEEKING:
            limit_s = self.plane.settings.head_timeout_s
            self.end(client_error(408, f"the beginning of the body did not arrive within {limit_s:g} s"))
        elif self.phase is PARKED:
            assert self.deployment_id is not None
            self.end(self._not_ready(self.deployment_id))
        elif self.phase is RESTING:
            self.plane.resting.pop(self, None)
            self.rested = True
            self.choose()

    def leave_places(self) -> None:
        """In the lot, among those who rest, and in the counts."""
        if self.phase is PARKED:
            self._leave_lot()
        elif self.phase is RESTING:
            self.plane.resting.pop(self, None)
        if self._counted is not None:
            deployment_id, parked = self._counted
            self._counted = None
            self.plane.loads.leave(deployment_id, parked)
