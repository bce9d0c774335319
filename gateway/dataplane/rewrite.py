"""The heads that go on: the caller's request as the replica gets it, the replica's answer as the caller gets it. Pure.

Hop-by-hop headers end here, and so does the caller's key. What the gateway says of itself replaces whatever either
side claims under the same name.
"""

from functools import lru_cache

import msgspec

from gateway.dataplane.fields import going_on, text_of
from gateway.dataplane.heads import RequestHead, ResponseHead


class Provenance(msgspec.Struct, frozen=True):
    """Where an answer comes from and what happened on the way."""

    request_id: str
    deployment_id: str | None
    replica_id: str | None
    position: int
    attempts: int
    parked_ms: int
    queue_position: int | None
    stale_s: float | None
    limits: tuple[tuple[str, str], ...] = ()
    """How much the caller's key may still send."""

    def lines(self) -> str:
        text = (
            f"x-request-id: {self.request_id}\r\nx-baseten-request-id: {self.request_id}\r\n"
            f"{_routed(self.deployment_id, self.replica_id, self.position)}"
            f"x-causeway-parked-ms: {self.parked_ms}\r\nx-causeway-attempts: {self.attempts}\r\n"
        )
        if self.queue_position is not None:
            text += f"x-causeway-queue-position: {self.queue_position}\r\n"
        if self.stale_s is not None:
            text += f"x-causeway-stale-s: {self.stale_s:.1f}\r\n"
        for name, value in self.limits:
            text += f"{name}: {value}\r\n"
        return text


@lru_cache(1024)
def _routed(deployment_id: str | None, replica_id: str | None, position: int) -> str:
    deployment = "" if deployment_id is None else f"x-causeway-deployment: {deployment_id}\r\n"
    replica = "" if replica_id is None else f"x-causeway-replica: {replica_id}\r\n"
    return f"{deployment}{replica}x-causeway-position: {position}\r\n"


def request_for_replica(
    head: RequestHead,
    length: int | None,
    path: str,
    peer: str,
    scheme: str,
    request_id: str,
    switching: bool,
    traceparent: str | None = None,
) -> bytes:
    """`traceparent`: in place of the caller's."""
    noted, onward = head.noted, head.onward
    if b"x-forwarded-for" in noted:
        peer = ", ".join([value.decode("latin-1") for value in noted[b"x-forwarded-for"]] + [peer])
    ours = (
        f"{head.method} {path} HTTP/1.1\r\nx-forwarded-for: {peer}\r\n"
        f"x-request-id: {request_id}\r\nx-baseten-request-id: {request_id}\r\n"
    )
    if not head.tells_scheme:
        ours += f"x-forwarded-proto: {scheme}\r\n"
    if traceparent is not None:
        ours += f"traceparent: {traceparent}\r\n"
        if b"traceparent" in noted:
            onward = text_of(field.to_replica for field in going_on(head.fields, noted, (b"traceparent",)))
    if head.chunked:
        ours += "transfer-encoding: chunked\r\n"
    elif length is not None:
        ours += f"content-length: {length}\r\n"
    if switching:
        ours += f"connection: upgrade\r\nupgrade: {(head.upgrade or b'').decode('latin-1')}\r\n"
    return f"{ours}{onward}\r\n".encode("latin-1")


def answer_for_caller(
    answer: ResponseHead, length: int | None, provenance: Provenance, chunked: bool, keep_alive: bool
) -> bytes:
    """`chunked`: the body goes on in chunks, whatever way it came in."""
    onward, ours = answer.onward, provenance.lines()
    if provenance.limits:
        replaced = [name.encode() for name, _ in provenance.limits]
        onward = text_of(field.to_caller for field in going_on(answer.fields, answer.noted, replaced))
    if length is not None:
        ours += f"content-length: {length}\r\n"
    elif chunked:
        ours += "transfer-encoding: chunked\r\n"
    if answer.status == 101:
        ours += "connection: upgrade\r\n"
        ours += "".join(f"upgrade: {value.decode('latin-1')}\r\n" for value in answer.noted.get(b"upgrade", ()))
    if not keep_alive:
        ours += "connection: close\r\n"
    return f"{answer.line}{onward}{ours}\r\n".encode("latin-1")
