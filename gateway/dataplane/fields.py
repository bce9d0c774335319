"""Header lines: what one is, which of them mean something to the gateway, and which go on to the other side."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

import msgspec

from gateway.dataplane.remembering import REMEMBERED, REMEMBERED_BYTES_MAX

HOP_BY_HOP = frozenset(
    (
        b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authorization",
        b"te", b"trailer", b"transfer-encoding", b"upgrade",
    )
)  # fmt: skip
OURS_IN = frozenset(
    (
        b"authorization", b"x-api-key", b"expect", b"x-forwarded-for", b"x-request-id",
        b"x-baseten-request-id",
    )
)  # fmt: skip
"""Of a request: ends here, or is written anew."""
_NEVER_HOP = frozenset((b"host", b"content-type"))
OURS_OUT = frozenset(
    (
        b"x-request-id", b"x-baseten-request-id", b"x-causeway-deployment", b"x-causeway-replica",
        b"x-causeway-position", b"x-causeway-attempts", b"x-causeway-parked-ms", b"x-causeway-queue-position",
        b"x-causeway-stale-s",
    )
)  # fmt: skip
_NOTED = frozenset(
    (
        b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"expect", b"authorization",
        b"x-request-id", b"x-baseten-request-id", b"x-forwarded-for", b"x-forwarded-proto", b"traceparent",
        b"x-api-key", b"x-causeway-session",
    )
)  # fmt: skip

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_FIELD = re.compile(rb"(" + TOKEN + rb"):([^\x00-\x08\x0a-\x1f\x7f]*+)")


class Malformed(Exception):
    """A line that is not what it should be."""


class Field(msgspec.Struct, frozen=True):
    """A header line."""

    name: bytes
    """In small letters."""
    value: bytes
    noted: bool
    """Among those that mean something to the gateway itself."""
    to_replica: bytes
    """The line as it goes on to a replica; empty if it ends here."""
    to_caller: bytes


Noted = Mapping[bytes, tuple[bytes, ...]]
"""The headers that mean something to the gateway, all values of each."""


def read_lines(lines: list[bytes], head_bytes: int) -> list[Field]:
    """Raises Malformed. Lines of a long head are not remembered."""
    if head_bytes > REMEMBERED_BYTES_MAX:
        return [_field.__wrapped__(line) for line in lines]
    return [_field(line) for line in lines]


@lru_cache(REMEMBERED)
def _field(line: bytes) -> Field:
    found = _FIELD.fullmatch(line)
    if found is None:
        raise Malformed
    name, value = found[1].lower(), found[2].strip(b" \t")
    goes_on = b"" if name in HOP_BY_HOP else b"%b: %b\r\n" % (name, value)
    to_replica, to_caller = b"" if name in OURS_IN else goes_on, b"" if name in OURS_OUT else goes_on
    return Field(name, value, name in _NOTED, to_replica, to_caller)


def noted_of(fields: list[Field]) -> dict[bytes, tuple[bytes, ...]]:
    """The headers that mean something to the gateway, all values of each."""
    noted: dict[bytes, tuple[bytes, ...]] = {}
    for field in fields:
        if field.noted:
            noted[field.name] = (*noted.get(field.name, ()), field.value)
    return noted


def going_on(fields: list[Field], noted: Noted, but: Iterable[bytes] = ()) -> list[Field]:
    """Without those that the sender calls hop-by-hop. What steers the message itself cannot be called so."""
    dropped = {*but}
    if b"connection" in noted:
        dropped |= tokens_of(noted[b"connection"]) - _NEVER_HOP
    return [field for field in fields if field.name not in dropped] if dropped else fields


def text_of(lines: Iterable[bytes]) -> str:
    """All their bytes, one character each: what is written between them is text, and encoded with them at once."""
    return b"".join(lines).decode("latin-1")


def tokens_of(values: tuple[bytes, ...]) -> set[bytes]:
    return {token.strip(b" \t").lower() for value in values for token in value.split(b",")}
