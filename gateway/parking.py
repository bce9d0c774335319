"""Requests that wait for a replica: first come, first served, bounded in number and bytes.

Nothing is polled: the routing view's change lets go of those that have somewhere to go now. A request is parked
under what its caller asked for, not under a deployment, so one that waits for an environment follows a promotion.
"""

import itertools
from collections.abc import Callable
from typing import Protocol

import msgspec

from events.base import DeploymentId
from gateway.addresses import Target
from gateway.choose import Park, Route, Unroutable
from gateway.errors import Problem

FULL_RETRY_AFTER_S = 5


class Parked(Protocol):
    """One waiting request."""

    def unparked(self) -> None:
        """It may go: choose again. Called in the order of arrival."""
        ...

    def moved(self, deployment_id: DeploymentId) -> None:
        """What it asked for is another deployment now, for which it waits."""
        ...


class Ticket(msgspec.Struct, eq=False):
    """A request's place. `arrival` stays the same when it has to be parked again."""

    arrival: int
    target: Target
    request: Parked
    deployment_id: DeploymentId
    """That it waits for at present."""


class Parking:
    def __init__(self, requests_max: int, bytes_max: int) -> None:
        self._requests_max = requests_max
        self._bytes_max = bytes_max
        self._lots: dict[Target, dict[int, Ticket]] = {}
        self._arrivals = itertools.count(1)
        self.count = 0
        self.bytes = 0
        """Of bodies that are kept while their requests wait."""

    def arrival(self) -> int:
        return next(self._arrivals)

    def park(self, arrival: int, target: Target, request: Parked, deployment_id: DeploymentId) -> Ticket | Problem:
        if self.count >= self._requests_max or self.bytes >= self._bytes_max:
            return full(f"{self.count} requests with {self.bytes} bytes are waiting for a replica already")
        ticket = Ticket(arrival, target, request, deployment_id)
        self._lots.setdefault(target, {})[arrival] = ticket
        self.count += 1
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Its caller went away, or its time is over, or it has a place to go."""
        lot = self._lots[ticket.target]
        del lot[ticket.arrival]
        if not lot:
            del self._lots[ticket.target]
        self.count -= 1

    def hold(self, size: int) -> bool:
        """Counts bytes of a body that waits; False: there is no room for them."""
        self.bytes += size
        return self.bytes <= self._bytes_max

    def let_go(self, size: int) -> None:
        self.bytes -= size

    def ahead_of(self, ticket: Ticket) -> int:
        """How many wait for the same and came earlier."""
        return sum(1 for arrival in self._lots[ticket.target] if arrival < ticket.arrival)

    def release(self, chosen: Callable[[Target], Route | Park | Unroutable]) -> None:
        """After a change of the table: all that need not wait any longer go, in the order of their arrival."""
        going: list[Ticket] = []
        for target, lot in self._lots.items():
            choice = chosen(target)
            if not isinstance(choice, Park):
                going.extend(lot.values())
                continue
            for ticket in lot.values():
                if ticket.deployment_id != choice.deployment_id:
                    ticket.deployment_id = choice.deployment_id
                    ticket.request.moved(choice.deployment_id)
        going.sort(key=lambda ticket: ticket.arrival)
        for ticket in going:
            ticket.request.unparked()


def full(reason: str) -> Problem:
    return Problem(429, "rate_limited", reason, headers=(("retry-after", str(FULL_RETRY_AFTER_S)),))
