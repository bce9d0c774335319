"""The heads of messages: one pattern says all that is accepted, and a head that fits it has one meaning only.

Strict on purpose (RFC 9112): two parsers that disagree about where a message ends are how requests are smuggled. No
bare CR or LF, no folded lines, no space before a colon, no control character; one Host; one length, never both
kinds of it. What is refused here never reaches a replica.
"""

import re
from typing import NamedTuple

from gateway.errors import Problem, client_error

Headers = tuple[tuple[bytes, bytes], ...]
"""Names in small letters."""

HEAD_BYTES_MAX = 64 * 1024
HOP_BY_HOP = frozenset(
    (
        b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authorization",
        b"te", b"trailer", b"transfer-encoding", b"upgrade",
    )
)  # fmt: skip

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_FIELDS = rb"((?:" + _TOKEN + rb":[^\x00-\x08\x0a-\x1f\x7f]*+\r\n)*+)\r\n"
_REQUEST = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e]++) HTTP/(\d\.\d)\r\n" + _FIELDS)
_RESPONSE = re.compile(rb"HTTP/1\.([01]) ([1-5]\d\d)(?: ([^\x00-\x08\x0a-\x1f\x7f]*+))?\r\n" + _FIELDS)
_LENGTH = re.compile(rb"\d{1,15}")
_ABSOLUTE = re.compile(r"https?://([^/?#@]+)([/?][^#]*)?", re.IGNORECASE)


class BadHead(Exception):
    """A request head that is refused."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.reason)
        self.problem = problem


class BadAnswer(Exception):
    """A replica's response head that has no one meaning."""


class RequestHead(NamedTuple):
    method: bytes
    target: str
    """Path and query."""
    host: str
    headers: Headers
    http10: bool
    keep_alive: bool
    upgrade: bytes | None
    """What the caller asks to switch to, in small letters."""
    length: int | None
    chunked: bool
    expects_continue: bool

    def value(self, name: bytes) -> bytes | None:
        return next((value for each, value in self.headers if each == name), None)


class ResponseHead(NamedTuple):
    status: int
    reason: bytes
    headers: Headers
    length: int | None
    chunked: bool
    keep_alive: bool


def read_request(head: bytes) -> RequestHead:
    """`head` ends with the empty line. Raises BadHead."""
    found = _REQUEST.fullmatch(head)
    if found is None:
        raise _bad(400, "the request line or a header is malformed (RFC 9112)")
    method, target, version, fields = found.groups()
    if version not in (b"1.1", b"1.0"):
        raise _bad(505, f"HTTP/{version.decode()} is not spoken here; use HTTP/1.1")
    if method == b"CONNECT":
        raise _bad(405, "CONNECT is not served: this is no forward proxy")
    headers = _split(fields)
    http10 = version == b"1.0"
    special = _special(headers)
    length, chunked = _request_framing(special, http10)
    hosts = special.get(b"host", [])
    if len(hosts) > 1 or (not hosts and not http10):
        raise _bad(400, "a request needs one Host header")
    path, host = _origin(target.decode(), hosts[0].decode("latin-1") if hosts else "")
    connection = _tokens(special.get(b"connection", ()))
    expects = [value.lower() for value in special.get(b"expect", ())]
    if expects and expects != [b"100-continue"]:
        raise _bad(417, "only 'Expect: 100-continue' can be met")
    upgrades = special.get(b"upgrade")
    return RequestHead(
        method,
        path,
        host,
        headers,
        http10,
        not http10 and b"close" not in connection,
        upgrades[0].lower() if upgrades and b"upgrade" in connection and not http10 else None,
        length,
        chunked,
        bool(expects) and not http10,
    )


def read_response(head: bytes) -> ResponseHead:
    """`head` ends with the empty line. Raises BadAnswer."""
    found = _RESPONSE.fullmatch(head)
    if found is None:
        raise BadAnswer("its response head is malformed")
    minor, status, reason, fields = found.groups()
    headers = _split(fields)
    special = _special(headers)
    lengths = special.get(b"content-length", [])
    codings = special.get(b"transfer-encoding", [])
    if len(lengths) > 1 or (lengths and (codings or not _LENGTH.fullmatch(lengths[0]))):
        raise BadAnswer("its response has no one length")
    if codings and [value.lower() for value in codings] != [b"chunked"]:
        raise BadAnswer("its response has a transfer coding other than chunked")
    close = b"close" in _tokens(special.get(b"connection", ())) or minor == b"0"
    length = int(lengths[0]) if lengths else None
    return ResponseHead(int(status), reason or b"", headers, length, bool(codings), not close)


def looks_wrong(start: bytes) -> bool:
    """Whether the beginning of a head can be refused before its end has come."""
    return not start[:1].isalpha() or start.count(b"\n") != start.count(b"\r\n") or b"\x00" in start


_SPECIAL = frozenset((b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"expect"))


def _split(fields: bytes) -> Headers:
    split = []
    for line in fields.split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        split.append((name.lower(), value.strip(b" \t")))
    return tuple(split)


def _special(headers: Headers) -> dict[bytes, list[bytes]]:
    """The headers that steer the connection, all values of each."""
    special: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        if name in _SPECIAL:
            special.setdefault(name, []).append(value)
    return special


def _request_framing(special: dict[bytes, list[bytes]], http10: bool) -> tuple[int | None, bool]:
    lengths, codings = special.get(b"content-length", []), special.get(b"transfer-encoding", [])
    if codings:
        if lengths:
            raise _bad(400, "a request may have Content-Length or Transfer-Encoding, not both")
        if http10:
            raise _bad(400, "HTTP/1.0 has no Transfer-Encoding")
        if [value.lower() for value in codings] != [b"chunked"]:
            raise _bad(501, "the only Transfer-Encoding served is 'chunked', once")
        return None, True
    if len(lengths) > 1 or (lengths and not _LENGTH.fullmatch(lengths[0])):
        raise _bad(400, "Content-Length must be one number")
    return (int(lengths[0]) if lengths else 0), False


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


def _tokens(values: list[bytes] | tuple[()]) -> set[bytes]:
    return {token.strip(b" \t").lower() for value in values for token in value.split(b",")}


def _bad(status: int, reason: str) -> BadHead:
    return BadHead(client_error(status, reason))
