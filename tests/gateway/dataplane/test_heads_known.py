"""A head that is known from an earlier one means what it would mean by itself."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane.heads import BadAnswer, BadHead, read_request, read_response
from gateway.dataplane.remembering import Remembering

REQUEST, RESPONSE = b"POST /p HTTP/1.1\r\nhost: a\r\n", b"HTTP/1.1 200 OK\r\n"
LINES = st.lists(
    st.sampled_from(
        [
            b"Content-Length: 5", b"content-length: 12", b"Content-Length: 005", b"content-length:5",
            b"content-length: 5 ", b"content-length: ", b"content-length:", b"content-length: 5, 5",
            b"content-length: +5", b"content-length: 1234567890123456", b"transfer-encoding: chunked",
            b"Transfer-Encoding: gzip", b"connection: close, x-a", b"x-a: 1", b"x-content-length: 5",
            b"x-b: content-length: 5", b"expect: 100-continue", b"upgrade: websocket",
        ]
    ),
    max_size=4,
)  # fmt: skip


def said(read: Callable[[bytes], Any], raw: bytes) -> Any:
    try:
        return read(raw)
    except (BadHead, BadAnswer):
        return "refused"


@given(st.lists(LINES, min_size=1, max_size=6))
@pytest.mark.parametrize(("reader", "first"), [(read_request, REQUEST), (read_response, RESPONSE)])
def test_what_was_read_before_changes_nothing(reader: Remembering[Any], first: bytes, heads: list[list[bytes]]) -> None:
    remembering = Remembering(reader.strictly)
    for lines in heads + heads:
        raw = first + b"".join(line + b"\r\n" for line in lines) + b"\r\n"
        assert said(remembering, raw) == said(reader.strictly, raw)


@given(LINES, LINES, st.sampled_from([b"", b"{}", b"\r\n\r\n", b"content-length: 7\r\n\r\n"]), st.integers(0, 300))
@pytest.mark.parametrize(("reader", "first"), [(read_request, REQUEST), (read_response, RESPONSE)])
def test_a_connection_knows_its_last_head_again(
    reader: Remembering[Any], first: bytes, one: list[bytes], two: list[bytes], rest: bytes, cut: int
) -> None:
    before, after = (first + b"".join(line + b"\r\n" for line in lines) + b"\r\n" for lines in (one, two))
    try:
        _, _, known = Remembering(reader.strictly).read(before)
    except (BadHead, BadAnswer):
        return
    again = None if known is None else known.again((after + rest)[:cut])
    if again is not None and known is not None:
        length, end = again
        assert end == len(after)
        assert (known.head, length) == reader.strictly(after)
    elif known is not None and one == two:
        assert cut < len(after), "the same again is known"


def test_a_head_of_another_length_is_known_again() -> None:
    _, _, known = read_request.read(REQUEST + b"Content-Length: 5\r\nx-a: 1\r\n\r\n")
    other = REQUEST + b"Content-Length: 1234\r\nx-a: 1\r\n\r\n"
    assert known is not None
    assert known.again(other + b"body") == (1234, len(other))
    assert known.again(other[:-1]) is None
    assert known.again(REQUEST + b"Content-Length: 12 34\r\nx-a: 1\r\n\r\n") is None
    assert known.again(REQUEST + b"Content-Length: \r\nx-a: 1\r\n\r\n") is None


def test_other_lengths_do_not_make_another_head() -> None:
    one, five = read_request(REQUEST + b"content-length: 5\r\n\r\n")
    other, seven = read_request(REQUEST + b"content-length: 7\r\n\r\n")
    assert (five, seven) == (5, 7)
    assert one is other
