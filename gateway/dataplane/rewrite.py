"""The heads that go on: the caller's request as the replica gets it, the replica's answer as the caller gets it. Pure.

Hop-by-hop headers end here, and so does the caller's key. What the gateway says of itself replaces whatever either
side claims under the same name.
"""

from typing import NamedTuple

from gateway.dataplane.heads import HOP_BY_HOP, RequestHead, ResponseHead

_OURS_IN = frozenset(
    (b"authorization", b"expect", b"content-length", b"x-forwarded-for", b"x-request-id", b"x-baseten-request-id")
)
_OURS_OUT = frozenset(
    (
        b"x-request-id", b"x-baseten-request-id", b"x-causeway-deployment", b"x-causeway-replica",
        b"x-causeway-position", b"x-causeway-attempts", b"x-causeway-parked-ms", b"x-causeway-queue-position",
        b"x-causeway-stale-s",
    )
)  # fmt: skip
_NEVER_HOP = frozenset((b"host", b"content-length", b"content-type"))


class Provenance(NamedTuple):
    """Where an answer comes from and what happened on the way."""

    request_id: str
    deployment_id: str | None
    replica_id: str | None
    position: int
    attempts: int
    parked_ms: int
    queue_position: int | None
    stale_s: float | None

    def lines(self) -> bytes:
        text = f"x-request-id: {self.request_id}\r\nx-baseten-request-id: {self.request_id}\r\n"
        if self.deployment_id is not None:
            text += f"x-causeway-deployment: {self.deployment_id}\r\n"
        if self.replica_id is not None:
            text += f"x-causeway-replica: {self.replica_id}\r\n"
        text += (
            f"x-causeway-position: {self.position}\r\n"
            f"x-causeway-parked-ms: {self.parked_ms}\r\n"
            f"x-causeway-attempts: {self.attempts}\r\n"
        )
        if self.queue_position is not None:
            text += f"x-causeway-queue-position: {self.queue_position}\r\n"
        if self.stale_s is not None:
            text += f"x-causeway-stale-s: {self.stale_s:.1f}\r\n"
        return text.encode()


def request_for_replica(
    head: RequestHead,
    path: str,
    *,
    peer: str,
    scheme: str,
    request_id: str,
    switching: bool,
    traceparent: str | None = None,
) -> bytes:
    """`traceparent`: in place of the caller's."""
    dropped = HOP_BY_HOP | _OURS_IN | _named_by_connection(head.headers)
    if traceparent is not None:
        dropped |= {b"traceparent"}
    out = [head.method, b" ", path.encode(), b" HTTP/1.1\r\n"]
    forwarded, has_host, has_proto = b"", False, False
    for name, value in head.headers:
        if name == b"x-forwarded-for":
            forwarded += value + b", "
        if name in dropped:
            continue
        has_host = has_host or name == b"host"
        has_proto = has_proto or name == b"x-forwarded-proto"
        out += (name, b": ", value, b"\r\n")
    if not has_host:
        out.append(b"host: model\r\n")
    if not has_proto:
        out.append(f"x-forwarded-proto: {scheme}\r\n".encode())
    out += (b"x-forwarded-for: ", forwarded, peer.encode(), b"\r\n")
    out.append(f"x-request-id: {request_id}\r\nx-baseten-request-id: {request_id}\r\n".encode())
    if traceparent is not None:
        out.append(f"traceparent: {traceparent}\r\n".encode())
    if head.chunked:
        out.append(b"transfer-encoding: chunked\r\n")
    elif head.length or any(name == b"content-length" for name, _ in head.headers):
        out.append(b"content-length: %d\r\n" % (head.length or 0))
    if switching:
        out += (b"connection: upgrade\r\nupgrade: ", head.upgrade or b"", b"\r\n")
    out.append(b"\r\n")
    return b"".join(out)


def answer_for_caller(answer: ResponseHead, provenance: Provenance, *, chunked: bool, keep_alive: bool) -> bytes:
    """`chunked`: the body goes on in chunks, whatever way it came in."""
    out = [b"HTTP/1.1 %d %b\r\n" % (answer.status, answer.reason)]
    dropped = HOP_BY_HOP | _OURS_OUT | _named_by_connection(answer.headers)
    if answer.status == 101:
        out.append(b"connection: upgrade\r\n")
        dropped -= {b"upgrade"}
    for name, value in answer.headers:
        if name not in dropped:
            out += (name, b": ", value, b"\r\n")
    if chunked:
        out.append(b"transfer-encoding: chunked\r\n")
    out.append(provenance.lines())
    if not keep_alive:
        out.append(b"connection: close\r\n")
    out.append(b"\r\n")
    return b"".join(out)


def _named_by_connection(headers: tuple[tuple[bytes, bytes], ...]) -> set[bytes]:
    """Headers that the sender calls hop-by-hop. What steers the message itself cannot be called so."""
    named = {
        token.strip(b" \t").lower() for name, value in headers if name == b"connection" for token in value.split(b",")
    }
    return named - _NEVER_HOP
