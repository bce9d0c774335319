"""Requests that wait for a replica or for a slot at one: first come, first served, bounded in number and bytes.

Nothing is polled. The routing view's change, and every slot that frees, let go of those that have somewhere to go
now, the first in line first. A request waits for what its caller asked for: one that waits for an environment
follows a promotion, and keeps its place by the time of its arrival. Whoever waits for an asynchronous answer lets
all others go first.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from events.base import DeploymentId
from gateway.addresses import Target
from gateway.choose import Park, Route, Unroutable
from gateway.errors import Problem

FULL_RETRY_AFTER_S = 5

_LONG_AGO = datetime.min.replace(tzinfo=UTC)

Rank = tuple[bool, int]
"""Who goes first: synchronous before asynchronous, then by arrival."""


class Parked(Protocol):
    """One waiting request."""

    def unparked(self) -> None:
        """Its turn has come: it is out of the lot and chooses again."""
        ...

    def moved(self, deployment_id: DeploymentId) -> None:
        """What it asked for is another deployment now, for which it waits."""
        ...


class Ticket(msgspec.Struct, eq=False):
    """A request's place. `rank` stays the same when it has to be parked again."""

    rank: Rank
    target: Target
    request: Parked
    deployment_id: DeploymentId
    """That it waits for at present."""
    came_at: datetime
    waits: bool = True


class Parking:
    def __init__(self, requests_max: int, bytes_max: int) -> None:
        self._requests_max = requests_max
        self._bytes_max = bytes_max
        self.lots: dict[DeploymentId, dict[Rank, Ticket]] = {}
        """In the order in which they go."""
        self.count = 0
        self.bytes = 0
        """Of bodies that are kept while their requests wait."""

    def park(
        self,
        rank: Rank,
        target: Target,
        request: Parked,
        deployment_id: DeploymentId,
        came_at: datetime = _LONG_AGO,
    ) -> Ticket | Problem:
        """`came_at` tells other workers how long it has waited."""
        if self.count >= self._requests_max or self.bytes >= self._bytes_max:
            return full(f"{self.count} requests with {self.bytes} bytes are waiting for a replica already")
        ticket = Ticket(rank, target, request, deployment_id, came_at)
        self._line_up(ticket)
        self.count += 1
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Its caller went away, or its time is over, or it has a place to go. Again: nothing happens."""
        if ticket.waits:
            ticket.waits = False
            self._step_out(ticket)
            self.count -= 1

    def hold(self, size: int) -> bool:
        """Counts bytes of a body that waits; False: there is no room for them."""
        self.bytes += size
        return self.bytes <= self._bytes_max

    def let_go(self, size: int) -> None:
        self.bytes -= size

    def waiting_since(self, deployment_id: DeploymentId) -> datetime | None:
        """When the first in line came."""
        lot = self.lots.get(deployment_id)
        return next(iter(lot.values())).came_at if lot else None

    def ahead_of(self, ticket: Ticket) -> int:
        """How many wait for the same and go first."""
        lot = self.lots[ticket.deployment_id]
        if next(reversed(lot)) == ticket.rank:
            return len(lot) - 1
        return sum(1 for rank in lot if rank < ticket.rank)

    def freed(self, deployment_id: DeploymentId, chosen: Callable[[Target], Route | Park | Unroutable]) -> None:
        """There may be room at a replica: the first in line go while there is."""
        while lot := self.lots.get(deployment_id):
            ticket = next(iter(lot.values()))
            if isinstance(chosen(ticket.target), Park):
                return
            self.leave(ticket)
            ticket.request.unparked()

    def follow(self, chosen: Callable[[Target], Route | Park | Unroutable]) -> None:
        """After a change of the table.

        Those who asked for an environment wait for its deployment of now; who asks in vain is let go.
        """
        going = dict[Target, list[Ticket]]()
        for lot in self.lots.values():
            for ticket in lot.values():
                going.setdefault(ticket.target, []).append(ticket)
        for target, tickets in going.items():
            self._follow(tickets, chosen(target))

    def _follow(self, tickets: list[Ticket], choice: Route | Park | Unroutable) -> None:
        for ticket in tickets:
            if isinstance(choice, Unroutable):
                self.leave(ticket)
                ticket.request.unparked()
            elif ticket.deployment_id != (lot := choice.lot or choice.deployment_id):
                self._step_out(ticket)
                ticket.deployment_id = lot
                self._line_up(ticket)
                ticket.request.moved(lot)

    def _line_up(self, ticket: Ticket) -> None:
        lot = self.lots.setdefault(ticket.deployment_id, {})
        in_order = not lot or next(reversed(lot)) < ticket.rank
        lot[ticket.rank] = ticket
        if not in_order:
            self.lots[ticket.deployment_id] = dict(sorted(lot.items()))

    def _step_out(self, ticket: Ticket) -> None:
        lot = self.lots[ticket.deployment_id]
        del lot[ticket.rank]
        if not lot:
            del self.lots[ticket.deployment_id]


def full(reason: str) -> Problem:
    return Problem(429, "rate_limited", reason, headers=(("retry-after", str(FULL_RETRY_AFTER_S)),))
