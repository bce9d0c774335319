"""Heads and bodies that we accept mean the same to h11, an independent strict reader of HTTP/1.1."""

import contextlib

import h11
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dataplane.framing import BadFraming, Chunked, Sized
from gateway.dataplane.heads import BadHead, RequestHead, read_request

LINES = [
    "host: a",
    "Host: b",
    "content-length: 5",
    "Content-Length: 3",
    "content-length: 05",
    "content-length: -1",
    "transfer-encoding: chunked",
    "Transfer-Encoding: Chunked",
    "transfer-encoding: identity",
    "transfer-encoding : chunked",
    " transfer-encoding: chunked",
    "x-a: b",
    "x-a:",
    "x\x00: b",
    "x-b: \x7f",
    "x-c: a\tb",
    ": b",
    "nothing",
    "connection: close",
    "expect: 100-continue",
]
ENDS = st.sampled_from(["\r\n"] * 12 + ["\n", "\r", "\r\r\n"])
STARTS = st.sampled_from(
    [
        "GET / HTTP/1.1",
        "POST /a?b=c HTTP/1.1",
        "POST /a HTTP/1.0",
        "POST  /a HTTP/1.1",
        "POST /a HTTP/1.2",
        "POST\t/a HTTP/1.1",
        "P\x01 /a HTTP/1.1",
    ]
)
HEADS = st.builds(
    lambda start, first, fields: "".join([start, first, *(line + end for line, end in fields), "\r\n"]),
    STARTS,
    ENDS,
    st.lists(st.tuples(st.sampled_from(LINES), ENDS), max_size=6),
).map(lambda text: text.encode("latin-1"))
CHUNKS = (
    b"5\r\nhello\r\n",
    b"3;x=y\r\nabc\r\n",
    b"0\r\n\r\n",
    b"0\r\nt: 1\r\n\r\n",
    b"hello",
    b"\r\n",
    b"0",
)
BODIES = st.lists(st.sampled_from(CHUNKS), max_size=4).map(b"".join)


def ours(head: RequestHead, length: int | None, raw: bytes) -> bytes | None:
    """The body, if all of it is there."""
    body = Chunked() if head.chunked else Sized(length or 0)
    payload = b"".join(body.take(raw)[0]) if raw and not body.done else b""
    return payload if body.done else None


def theirs(raw: bytes) -> tuple[h11.Request, bytes | None]:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(raw)
    request = connection.next_event()
    assert isinstance(request, h11.Request), request
    body = b""
    with contextlib.suppress(h11.RemoteProtocolError):
        while isinstance(event := connection.next_event(), h11.Data):
            body += event.data
        if isinstance(event, h11.EndOfMessage):
            return request, body
    return request, None


@settings(max_examples=1500)
@given(HEADS, BODIES)
def test_what_we_accept_h11_accepts_with_the_same_meaning(raw_head: bytes, raw_body: bytes) -> None:
    try:
        head, length = read_request(raw_head)
        body = ours(head, length, raw_body)
    except (BadHead, BadFraming):
        return
    request, same = theirs(raw_head + raw_body)
    assert request.method == head.method.encode()
    assert request.target == head.target.encode()
    assert [(name, value) for name, value in request.headers if name != b"content-length"] == [
        (name, value.lower() if name == b"transfer-encoding" else value) for name, value in head.headers
    ]
    assert [int(value) for name, value in request.headers if name == b"content-length"] == (
        [] if length is None else [length]
    )
    if body is not None:
        assert body == same
