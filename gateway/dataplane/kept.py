"""What a request keeps with it: the body that a replica has not taken yet, its place in the lot, its attempts.

Three small accounts, so that the life of a call (`search.py`, `call.py`) reads as its transitions.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from events.base import DeploymentId, ReplicaId
from gateway.addresses import Target
from gateway.dataplane.framing import LAST_CHUNK, chunk
from gateway.errors import Problem
from gateway.parking import Parked, Parking, Rank, Ticket


class Body:
    """The body so far, framed for the replica: sent once there is one, and once more if that one breaks."""

    __slots__ = ("_bytes_max", "_chunked", "ended", "pieces", "received", "size", "whole")

    def __init__(self, bytes_max: int, chunked: bool, all_of_it: bytes | None = None) -> None:
        """`all_of_it`: where it has come together with the head, and is not chunked."""
        self._bytes_max, self._chunked = bytes_max, chunked
        self.ended = all_of_it is not None
        self.pieces: list[bytes] = [all_of_it] if all_of_it else []
        self.size = self.received = len(all_of_it) if all_of_it else 0
        """Kept here, framed; and of the payload, by the gateway."""
        self.whole = True
        """Nothing has been given out of hand: it can be sent from its beginning."""

    @property
    def is_large(self) -> bool:
        return self.size > self._bytes_max

    def add(self, pieces: list[bytes], *, last: bool) -> bytes:
        """As they go on to a replica."""
        self.ended = last
        for piece in pieces:
            self.received += len(piece)
        if self._chunked:
            pieces = [chunk(piece) for piece in pieces]
            if last:
                pieces.append(LAST_CHUNK)
        framed = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if self.whole and framed:
            self.pieces.append(framed)
            self.size += len(framed)
        return framed

    def sent(self) -> None:
        """A replica has all of it: a large one is kept no longer."""
        if self.size > self._bytes_max:
            self.forget()

    def forget(self) -> None:
        self.pieces, self.size, self.whole = [], 0, False


class Stay:
    """A request's time in the parking lot, which may be in several parts."""

    def __init__(self, parking: Parking, now: Callable[[], float], came: float, arrival: int) -> None:
        self._parking, self._now = parking, now
        self._came = came
        self._rank: Rank = (False, arrival)
        self._since = 0.0
        self._spent_s = 0.0
        self._size = 0
        self.ticket: Ticket | None = None
        self.queue_position: int | None = None
        """How many were ahead of it when it came."""

    @property
    def spent_s(self) -> float:
        return self._spent_s + (self._now() - self._since if self.ticket is not None else 0.0)

    def begin(self, target: Target, request: Parked, deployment_id: DeploymentId) -> Problem | None:
        ticket = self._parking.park(self._rank, target, request, deployment_id, self._came_at)
        if isinstance(ticket, Problem):
            return ticket
        self.ticket, self._since = ticket, self._now()
        if self.queue_position is None:
            self.queue_position = self._parking.ahead_of(ticket)
        return None

    @property
    def _came_at(self) -> datetime:
        return datetime.now(UTC) - timedelta(seconds=self._now() - self._came)

    def hold(self, size: int) -> bool:
        """Counts bytes that wait with it; False: the lot has no room for them."""
        self._size += size
        return self._parking.hold(size)

    def end(self) -> None:
        assert self.ticket is not None
        self._spent_s = self.spent_s
        self._parking.leave(self.ticket)
        self._parking.let_go(self._size)
        self._size = 0
        self.ticket = None


class Failures:
    """Where it failed, and how long to pause before a replica that failed is tried again."""

    def __init__(self) -> None:
        self.replicas: set[ReplicaId] = set()
        self._rests = 0

    def pause_s(self, first_s: float, growth: float, cap_s: float) -> float:
        self._rests += 1
        return min(cap_s, first_s * growth ** (self._rests - 1))
