"""How long a request may take, and whether its prompt picks its replica: the environment's word, else the gateway's."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from events.environment import RequestLimits
from gateway.addresses import Target
from gateway.dataplane.clock import NEVER
from projections.routing import RoutingTable

if TYPE_CHECKING:
    from gateway.dataplane.plane import DataPlane


class Limits(msgspec.Struct, frozen=True):
    park_deadline_s: float
    call_deadline_s: float
    idle_timeout_s: float
    total_deadline_s: float | None
    prefix_affinity_bytes: int


def limits_of(table: RoutingTable, target: Target, usual: Limits) -> Limits:
    """Of calls by an environment's name; a deployment called by its id has the usual ones."""
    model = table.models.get(target.model_id)
    if model is None or not model.limits or target.by != "environment":
        return usual
    own = model.limits.get(target.name)
    return usual if own is None else _with(usual, own)


def _with(usual: Limits, own: RequestLimits) -> Limits:
    set_here = {name: value for name in own.__struct_fields__ if (value := getattr(own, name)) is not None}
    return msgspec.structs.replace(usual, **set_here)


@dataclass(slots=True, eq=False)
class Limited:
    """The four ends that time can put to a call. All are the loop's time, or NEVER."""

    plane: "DataPlane"
    limits: Limits
    due: float = field(default=NEVER, init=False)
    wait_until: float = field(default=NEVER, init=False)
    """Ends peeking, parking, or a rest."""
    answer_by: float = field(default=NEVER, init=False)
    """Runs from the first attempt, and stands still while the call is parked."""
    answer_within_s: float = field(init=False)
    """What is left of that when it begins to run."""
    over_by: float = field(default=NEVER, init=False)
    """The end of all of it, whatever it is at."""
    silent_by: float = field(default=NEVER, init=False)
    """While it is watched that something moves."""

    def waited(self) -> None:
        raise NotImplementedError

    def too_late(self) -> None:
        """For an answer."""
        raise NotImplementedError

    def over(self) -> None:
        raise NotImplementedError

    def fell_silent(self) -> None:
        raise NotImplementedError

    @property
    def stirred_at(self) -> float:
        """When something moved; NEVER: nothing is to move now."""
        raise NotImplementedError

    def wait(self, seconds: float) -> None:
        self.wait_until = self.plane.now() + seconds
        self.plane.clock.watch(self, self.wait_until)

    def wait_for_answer(self, now: float) -> None:
        if self.answer_by < NEVER:
            return
        due = self.answer_by = now + self.answer_within_s
        if self.limits.total_deadline_s is not None and self.over_by == NEVER:
            self.over_by = now + self.limits.total_deadline_s
            due = min(due, self.over_by)
        self.plane.clock.watch(self, due)

    def stop_waiting_for_answer(self, now: float) -> None:
        """While it waits for a slot, no replica is to blame."""
        if self.answer_by < NEVER:
            self.answer_within_s, self.answer_by = max(0.0, self.answer_by - now), NEVER

    def stirred(self) -> None:
        """Something moves; from now on it would be noticed if nothing did."""
        if self.silent_by == NEVER:
            self.silent_by = self.plane.now() + self.limits.idle_timeout_s
            self.plane.clock.watch(self, self.silent_by)

    def look_at_clock(self, now: float) -> None:
        if now >= self.over_by:
            self.over()
        elif now >= self.answer_by:
            self.too_late()
        elif now >= self.wait_until:
            self.wait_until = NEVER
            self.waited()
        elif now >= self.silent_by:
            self.silent_by = self.stirred_at + self.limits.idle_timeout_s
            if now >= self.silent_by:
                self.fell_silent()
        self.due = min(self.wait_until, self.answer_by, self.over_by, self.silent_by)
