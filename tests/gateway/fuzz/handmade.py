"""Cases that need no luck: every odd thing by itself, and proper messages cut off or split at every byte."""

from collections.abc import Iterator

from tests.gateway.dataplane.happened import KEY
from tests.gateway.fuzz import answering, grammar
from tests.gateway.fuzz.answering import QUESTIONS, Scripted
from tests.gateway.fuzz.grammar import ENDS, Sent

_AUTHORIZED = b"host: gateway\r\nauthorization: Bearer " + KEY.encode() + b"\r\n"
_START = b"POST /model-m1/predict HTTP/1.1\r\n"
_SIZED = _START + _AUTHORIZED + b"content-length: 5\r\n\r\nhello"
_CHUNKED = _START + _AUTHORIZED + b"transfer-encoding: chunked\r\n\r\n"
_CONTROL = b"POST /v1/models HTTP/1.1\r\n" + _AUTHORIZED
STREAMS = (
    _SIZED + b"GET /model-m1/sync/a HTTP/1.1\r\n" + _AUTHORIZED + b"\r\n",
    _CHUNKED + b"5\r\nhello\r\n2;x=y\r\nab\r\n0\r\nx-t: 1\r\n\r\n" + b"\r\n" + _SIZED,
    _CONTROL + b"content-length: 2\r\n\r\n{}" + _CHUNKED + b"0\r\n\r\n",
    _CONTROL + b"transfer-encoding: chunked\r\nexpect: 100-continue\r\n\r\n2\r\n{}\r\n0\r\n\r\n" + _SIZED,
    b"GET http://gateway/model-m1/sync/a HTTP/1.0\r\nauthorization: Bearer " + KEY.encode() + b"\r\n\r\n" + _SIZED,
)
ANSWERS = (
    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-a: b\r\n\r\nhello",
    b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nto the end",
    b"HTTP/1.0 404 Not Found\r\n\r\nold",
    b"HTTP/1.1 503 Busy\r\ncontent-length: 2\r\n\r\nno",
    answering.SWITCH + b"frames",
)


def asked() -> Iterator[Sent]:
    for line in grammar.BAD_LINES:
        yield Sent([_START + _AUTHORIZED + line + b"\r\n\r\n" + _SIZED])
        yield Sent([_START + _AUTHORIZED + b"content-length: 5\r\n" + line + b"\r\n\r\nhello" + _SIZED])
        yield Sent([_START + line + b"\r\n" + _AUTHORIZED + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n" + _SIZED])
    for start in (*grammar.BAD_STARTS, *(b"GET " + target + b" HTTP/1.1" for target in grammar.ODD_TARGETS)):
        yield Sent([start + b"\r\n" + _AUTHORIZED + b"\r\n" + _SIZED])
    for head in (_CHUNKED, _CONTROL + b"transfer-encoding: chunked\r\n\r\n"):
        for piece in (*grammar.CHUNKS, *grammar.BAD_CHUNKS):
            yield Sent([head + piece + b"0\r\n\r\n" + _SIZED])
        for last in (*grammar.LAST, *grammar.BAD_LAST):
            yield Sent([head + b"1\r\na\r\n" + last + _SIZED])
    early = b"POST /early HTTP/1.1\r\n" + _AUTHORIZED + b"transfer-encoding: chunked\r\n\r\n"
    yield Sent([early, b"4", b" ", b"\r\nwxyz\r\n0\r\n\r\n"], slow=True)
    for garbage in (*grammar.GARBAGE, *grammar.SPLICES):
        yield Sent([garbage + _SIZED])
        yield Sent([_SIZED, garbage, _SIZED])
    for line in (b"upgrade: y", b"upgrade: websocket", b"upgrade: h2c\r\nx-b: c"):
        for version in (b"HTTP/1.0", b"HTTP/1.1"):
            asks = b"connection: upgrade\r\n" + line + b"\r\ncontent-length: %d\r\n\r\n" % len(_SIZED) + _SIZED
            yield Sent([b"POST /v1/models " + version + b"\r\n" + _AUTHORIZED + asks])
    for stream in STREAMS:
        for at in range(len(stream) + 1):
            for end in ENDS:
                yield Sent([stream[:at]], end, early=at % 2 == 0)
            yield Sent([stream[:at], stream[at:]], hurried=at % 2 == 0, clean=b"HTTP/1.0" not in stream)


def answered() -> Iterator[Scripted]:
    for question in QUESTIONS:
        for line in (*answering.BAD_LINES, *answering.GOOD_LINES):
            yield Scripted(question, [b"HTTP/1.1 200 OK\r\n" + line + b"\r\ncontent-length: 5\r\n\r\nhello"], "stay")
            yield Scripted(question, [b"HTTP/1.1 200 OK\r\n" + line + b"\r\n\r\nhello"], "end")
        for status in (*answering.STATUSES, *answering.BAD_STATUSES, *answering.INTERIMS):
            yield Scripted(question, [status + b"\r\ncontent-length: 5\r\n\r\nhello"], "end")
        for piece in (*grammar.BAD_CHUNKS, *grammar.BAD_LAST):
            chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
            yield Scripted(question, [chunked + b"1\r\na\r\n" + piece], "end")
    for answer in ANSWERS:
        for question in QUESTIONS:
            yield Scripted(question, [answer], "stay", slow=True)
        for question in (QUESTIONS[0], *QUESTIONS[3:]):
            for at in range(len(answer) + 1):
                for close in answering.CLOSES:
                    yield Scripted(question, [answer[:at]], close)
                yield Scripted(question, [answer[:at], answer[at:]], "end", hurried=at % 2 == 0)
