"""A request that is over, in one record: what metrics, the access log and spans are made of."""

import re
from secrets import token_hex

import msgspec

from events.base import DeploymentId, Position, ReplicaId
from gateway.addresses import Target

_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
CLIENT_CLOSED = 499
"""The caller left before there was an answer: no status was sent, this one is counted."""


class Trace(msgspec.Struct, frozen=True):
    """This request's place in a trace (W3C Trace Context)."""

    trace_id: str
    parent_id: str
    """Empty: the trace begins here."""
    span_id: str
    sampled: bool

    @property
    def traceparent(self) -> str:
        """As the replica gets it."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


class Trip(msgspec.Struct, frozen=True):
    """Times are the event loop's, in seconds."""

    target: Target
    verb: str
    method: str
    request_id: str
    deployment_id: DeploymentId | None
    replica_id: ReplicaId | None
    status: int
    """That was sent, or CLIENT_CLOSED."""
    complete: bool
    """False: the answer was cut, or the caller left."""
    began: float
    first_byte: float | None
    ended: float
    parked_s: float
    attempts: int
    received_bytes: int
    sent_bytes: int
    trace: Trace | None
    position: Position
    """Of the log, at which it was routed."""


def continued(traceparent: bytes | None, *, begin: bool) -> Trace | None:
    """A span in the caller's trace; in a trace of our own if there is none and one is to `begin`."""
    found = None if traceparent is None else _TRACEPARENT.fullmatch(traceparent)
    if found is None or found[1] == b"ff" or (found[1] == b"00" and found[5]):
        return Trace(token_hex(16), "", token_hex(8), True) if begin else None
    trace_id, parent_id = found[2].decode(), found[3].decode()
    if not trace_id.strip("0") or not parent_id.strip("0"):
        return None
    return Trace(trace_id, parent_id, token_hex(8), bool(int(found[4], 16) & 1))
