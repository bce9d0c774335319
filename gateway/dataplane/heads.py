"""The heads of messages: one pattern says all that is accepted, and a head that fits it has one meaning only.

Strict on purpose (RFC 9112): two parsers that disagree about where a message ends are how requests are smuggled. No
bare CR or LF, no folded lines, no space before a colon, no control character; one Host; one length, never both
kinds of it. What is refused here never reaches a replica.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

import msgspec

from gateway.dataplane.fields import TOKEN, Field, Malformed, Noted, going_on, noted_of, read_lines, text_of, tokens_of
from gateway.dataplane.remembering import REMEMBERED, REMEMBERED_BYTES_MAX, Remembering
from gateway.errors import Problem, client_error

HEAD_BYTES_MAX = 64 * 1024
_REQUEST_LINE = re.compile(rb"(" + TOKEN + rb") ([\x21-\x7e]++) HTTP/(\d\.\d)")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5]\d\d)(?: ([^\x00-\x08\x0a-\x1f\x7f]*+))?")
_LENGTH_DIGITS_MAX = 15
_ABSOLUTE = re.compile(r"https?://([^/?#@]+)([/?][^#]*)?", re.IGNORECASE)


class BadHead(Exception):
    """A request head that is refused."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.reason)
        self.problem = problem


class BadAnswer(Exception):
    """A replica's response head that has no one meaning."""


T = TypeVar("T")


class RequestHead(msgspec.Struct):
    """All that a request's head says, but the length of its body. Shared by all requests with the same."""

    method: str
    target: str
    """Path and query."""
    host: str
    fields: list[Field]
    noted: Noted
    onward: str
    """The lines that go on to a replica."""
    tells_scheme: bool
    """By X-Forwarded-Proto, which goes on as it is."""
    http10: bool
    keep_alive: bool
    upgrade: bytes | None
    """What the caller asks to switch to, in small letters."""
    chunked: bool
    expects_continue: bool
    entry: object = None
    """What a gate has made of it (`gate.py`)."""

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        return [(field.name, field.value) for field in self.fields]

    def value(self, name: bytes) -> bytes | None:
        """Of one of the noted headers, the first."""
        values = self.noted.get(name)
        return values[0] if values else None


class ResponseHead(msgspec.Struct, frozen=True):
    """All that a response's head says, but the length of its body."""

    status: int
    line: str
    fields: list[Field]
    noted: Noted
    onward: str
    """The lines that go on to the caller."""
    chunked: bool
    keep_alive: bool
    bodyless: bool
    """By its status: whatever the length is, no body follows."""


def _read_request(head: bytes) -> tuple[RequestHead, int | None]:
    try:
        (method, target, version), fields = _read(_request_line, head)
    except Malformed:
        raise _bad(400, "the request line or a header is malformed (RFC 9112)") from None
    noted = noted_of(fields)
    if version not in ("1.1", "1.0"):
        raise _bad(505, f"HTTP/{version} is not spoken here; use HTTP/1.1")
    if method == "CONNECT":
        raise _bad(405, "CONNECT is not served: this is no forward proxy")
    http10 = version == "1.0"
    length, chunked = _request_framing(noted, http10)
    fields = _without_length(fields, noted)
    hosts = noted.get(b"host", ())
    if len(hosts) > 1 or (not hosts and not http10):
        raise _bad(400, "a request needs one Host header")
    path, host = _origin(target, hosts[0].decode("latin-1") if hosts else "")
    if b"expect" in noted and [value.lower() for value in noted[b"expect"]] != [b"100-continue"]:
        raise _bad(417, "only 'Expect: 100-continue' can be met")
    connection = tokens_of(noted[b"connection"]) if b"connection" in noted else ()
    upgrades = noted.get(b"upgrade")
    kept = going_on(fields, noted)
    read = RequestHead(
        method,
        path,
        host,
        fields,
        noted,
        text_of(field.to_replica for field in kept) + ("" if hosts else "host: model\r\n"),
        any(field.name == b"x-forwarded-proto" for field in kept),
        http10,
        not http10 and b"close" not in connection,
        upgrades[0].lower() if upgrades and b"upgrade" in connection and not http10 else None,
        chunked,
        b"expect" in noted and not http10,
    )
    return read, length


def _read_response(head: bytes) -> tuple[ResponseHead, int | None]:
    try:
        (minor, status, reason), fields = _read(_status_line, head)
    except Malformed:
        raise BadAnswer("its response head is malformed") from None
    noted = noted_of(fields)
    lengths, codings = noted.get(b"content-length", ()), noted.get(b"transfer-encoding", ())
    if len(lengths) > 1 or (lengths and (codings or not _is_length(lengths[0]))):
        raise BadAnswer("its response has no one length")
    if codings and [value.lower() for value in codings] != [b"chunked"]:
        raise BadAnswer("its response has a transfer coding other than chunked")
    length = int(lengths[0]) if lengths else None
    fields = _without_length(fields, noted)
    close = minor == b"0" or (b"connection" in noted and b"close" in tokens_of(noted[b"connection"]))
    line = f"HTTP/1.1 {status} {reason.decode('latin-1')}\r\n"
    onward = text_of(field.to_caller for field in going_on(fields, noted))
    return ResponseHead(status, line, fields, noted, onward, bool(codings), not close, status in (204, 304)), length


read_request = Remembering(_read_request)
"""Raises BadHead."""
read_response = Remembering(_read_response)
"""Raises BadAnswer."""


def looks_wrong(start: bytes) -> bool:
    """Whether the beginning of a head can be refused before its end has come."""
    return not start[:1].isalpha() or start.count(b"\n") != start.count(b"\r\n") or b"\x00" in start


@lru_cache(REMEMBERED)
def _request_line(line: bytes) -> tuple[str, str, str]:
    found = _REQUEST_LINE.fullmatch(line)
    if found is None:
        raise Malformed
    return found[1].decode(), found[2].decode(), found[3].decode()


@lru_cache(REMEMBERED)
def _status_line(line: bytes) -> tuple[bytes, int, bytes]:
    found = _STATUS_LINE.fullmatch(line)
    if found is None:
        raise Malformed
    return found[1], int(found[2]), found[3] or b""


def _read(read_first: Callable[[bytes], T], head: bytes) -> tuple[T, list[Field]]:
    """The first line and the headers."""
    if not head.endswith(b"\r\n\r\n"):
        raise Malformed
    first, *lines = head[:-4].split(b"\r\n")
    if len(head) > REMEMBERED_BYTES_MAX:
        read_first = read_first.__wrapped__  # type: ignore[attr-defined]
    return read_first(first), read_lines(lines, len(head))


def _without_length(fields: list[Field], noted: dict[bytes, tuple[bytes, ...]]) -> list[Field]:
    """What is remembered of a head must not hold the length of one."""
    if noted.pop(b"content-length", None) is None:
        return fields
    return [field for field in fields if field.name != b"content-length"]


def _request_framing(noted: Noted, http10: bool) -> tuple[int | None, bool]:
    """Content-Length, and whether the body is chunked."""
    lengths = noted.get(b"content-length", ())
    if b"transfer-encoding" in noted:
        if lengths:
            raise _bad(400, "a request may have Content-Length or Transfer-Encoding, not both")
        if http10:
            raise _bad(400, "HTTP/1.0 has no Transfer-Encoding")
        if [value.lower() for value in noted[b"transfer-encoding"]] != [b"chunked"]:
            raise _bad(501, "the only Transfer-Encoding served is 'chunked', once")
        return None, True
    if len(lengths) > 1 or (lengths and not _is_length(lengths[0])):
        raise _bad(400, "Content-Length must be one number")
    return (int(lengths[0]) if lengths else None), False


def _is_length(value: bytes) -> bool:
    return value.isdigit() and len(value) <= _LENGTH_DIGITS_MAX


def _origin(target: str, host: str) -> tuple[str, str]:
    """Path and host, also of the absolute form that clients send to a proxy."""
    if target[0] == "/" or target == "*":
        return target, host
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise _bad(400, "the request target must be a path")
    if host and absolute[1].lower() != host.lower():
        raise _bad(400, "the request target and the Host header name different hosts")
    path = absolute[2] or "/"
    return path if path[0] == "/" else "/" + path, absolute[1]


def _bad(status: int, reason: str) -> BadHead:
    return BadHead(client_error(status, reason))
