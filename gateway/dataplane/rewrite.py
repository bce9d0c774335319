"""The heads that go on: the caller's request as the replica gets it, the replica's answer as the caller gets it. Pure.

Hop-by-hop headers end here, and so does the caller's key. What the gateway says of itself replaces whatever either
side claims under the same name.
"""

import msgspec

from gateway.dataplane.heads import Field, Noted, RequestHead, ResponseHead

_NEVER_HOP = frozenset((b"host", b"content-length", b"content-type"))


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
        for name, value in self.limits:
            text += f"{name}: {value}\r\n"
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
    noted = head.noted
    named = _named_by_connection(noted)
    if traceparent is not None:
        named.add(b"traceparent")
    out = [b"%b %b HTTP/1.1\r\n" % (head.method, path.encode())]
    out += [field.to_replica for field in _without(head.fields, named)]
    if b"host" not in noted:
        out.append(b"host: model\r\n")
    if b"x-forwarded-for" in noted:
        peer = ", ".join([value.decode("latin-1") for value in noted[b"x-forwarded-for"]] + [peer])
    if b"x-forwarded-proto" in noted and b"x-forwarded-proto" not in named:
        ours = f"x-forwarded-for: {peer}\r\n"
    else:
        ours = f"x-forwarded-proto: {scheme}\r\nx-forwarded-for: {peer}\r\n"
    out.append(f"{ours}x-request-id: {request_id}\r\nx-baseten-request-id: {request_id}\r\n".encode("latin-1"))
    if traceparent is not None:
        out.append(b"traceparent: %b\r\n" % traceparent.encode())
    if head.chunked:
        out.append(b"transfer-encoding: chunked\r\n")
    elif b"content-length" in noted:
        out.append(b"content-length: %d\r\n" % (head.length or 0))
    if switching:
        out.append(b"connection: upgrade\r\nupgrade: %b\r\n" % (head.upgrade or b""))
    out.append(b"\r\n")
    return b"".join(out)


def answer_for_caller(answer: ResponseHead, provenance: Provenance, *, chunked: bool, keep_alive: bool) -> bytes:
    """`chunked`: the body goes on in chunks, whatever way it came in."""
    noted = answer.noted
    out = [b"HTTP/1.1 %d %b\r\n" % (answer.status, answer.reason)]
    dropped = _named_by_connection(noted)
    if provenance.limits:
        dropped.update(name.encode() for name, _ in provenance.limits)
    out += [field.to_caller for field in _without(answer.fields, dropped)]
    if answer.status == 101:
        out.append(b"connection: upgrade\r\n")
        out += [b"upgrade: %b\r\n" % value for value in noted.get(b"upgrade", ())]
    if chunked:
        out.append(b"transfer-encoding: chunked\r\n")
    out.append(provenance.lines())
    out.append(b"\r\n" if keep_alive else b"connection: close\r\n\r\n")
    return b"".join(out)


def _without(fields: list[Field], dropped: set[bytes]) -> list[Field]:
    return [field for field in fields if field.name not in dropped] if dropped else fields


def _named_by_connection(noted: Noted) -> set[bytes]:
    """Headers that the sender calls hop-by-hop. What steers the message itself cannot be called so."""
    if b"connection" not in noted:
        return set()
    return {token.strip(b" \t").lower() for value in noted[b"connection"] for token in value.split(b",")} - _NEVER_HOP
