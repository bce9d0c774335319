"""One replica's bytes through the gateway, judged: a caller sees a whole answer only where h11 sees one.

The caller asks twice on one connection. The first question is answered by the case's bytes, however often it is asked;
the second by a proper answer, which must come through as it is: nothing of a broken answer may leak into the next.
"""

from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Literal

import h11

from tests.gateway.dataplane.happened import KEY
from tests.gateway.fuzz.grammar import CHUNKS, LAST, chunked, cut, mutated
from tests.gateway.fuzz.loop import Factory, Pipe
from tests.gateway.fuzz.stand import Stand
from tests.gateway.fuzz.strict import HEAD_BYTES_MAX, Answer, Headers, read_answers

Close = Literal["stay", "end", "reset"]
CLOSES: tuple[Close, ...] = ("stay", "end", "reset")
STATUSES = (
    b"HTTP/1.1 200 OK", b"HTTP/1.1 201", b"HTTP/1.1 404 Not Found", b"HTTP/1.0 200 OK", b"HTTP/1.1 500 \xe9rror",
    b"HTTP/1.1 204 No Content", b"HTTP/1.1 304 Not Modified", b"HTTP/1.1 499 ", b"HTTP/1.1 502 Bad Gateway",
    b"HTTP/1.1 503 Busy", b"HTTP/1.1 504 Late",
)  # fmt: skip
BAD_STATUSES = (
    b"HTTP/1.1 200\tOK", b"HTTP/2 200", b"HTTP/1.1 2000 OK", b"HTTP/1.1 20 OK", b"ICY 200 OK", b"HTTP/1.1 600 What",
    b" HTTP/1.1 200 OK", b"HTTP/1.1 200 O\x00K", b"HTTP/1.1 101 Switching Protocols", b"HTTP/1.1 099 Low", b"{}", b"",
    b"HTTP/1.1  200 OK", b"HTTP/1.2 200 OK", b"HTTP/1.1 +20 OK", b"HTTP/1.1 200 O\rK", b"http/1.1 200 OK",
)  # fmt: skip
INTERIMS = (
    b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n", b"HTTP/1.1 102\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\ncontent-length: 3\r\n\r\n", b"HTTP/1.1 103\r\ntransfer-encoding: chunked\r\n\r\n",
)  # fmt: skip
GOOD_LINES = (
    b"content-type: text/plain", b"X-A:b", b"x-empty:", b"set-cookie: a=b", b"set-cookie: c=d", b"connection: close",
    b"connection: x-a", b"keep-alive: timeout=5", b"x-request-id: forged", b"x-causeway-replica: forged", b"trailer: x",
    b"connection: keep-alive", b"x-latin: \xe9", b"upgrade: h2c", b"server: s", b"connection: content-length",
)  # fmt: skip
BAD_LINES = (
    b"content-length: 3", b"content-length: 5, 5", b"content-length: -1", b"content-length: 0x5", b"content-length:",
    b"content-length: 5 5", b"transfer-encoding: gzip", b"transfer-encoding: chunked", b"transfer-encoding: identity",
    b"transfer-encoding: gzip, chunked", b"transfer-encoding : chunked", b" folded: 1", b"no colon", b"x\x00: a",
    b"x-a: b\x00", b": nameless", b"x-a: b\n c", b"x-a: b\r", b"x-big: " + b"y" * 70_000,
    b"content-length: 99999999999",
)  # fmt: skip
QUESTIONS = (
    b"POST /model-m1/predict HTTP/1.1\r\n", b"POST /model-m1/predict HTTP/1.1\r\n",
    b"GET /model-m1/sync/a HTTP/1.1\r\n",
    b"HEAD /model-m1/sync/a HTTP/1.1\r\n", b"POST /model-m1/predict HTTP/1.0\r\n",
    b"GET /model-m1/sync/ws HTTP/1.1\r\nupgrade: websocket\r\nconnection: upgrade\r\n",
)  # fmt: skip
_REST = b"host: g\r\nauthorization: Bearer " + KEY.encode() + b"\r\ncontent-length: 2\r\n\r\n{}"
SECOND = b"POST /model-m1/sync/second HTTP/1.1\r\n" + _REST
PROPER = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\nx-second: yes\r\n\r\nproper"
WAITS_MAX = 80
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"
_DROPPED = frozenset(
    (
        b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade",
        b"content-length", b"x-request-id", b"x-baseten-request-id",
    )
)  # fmt: skip


@dataclass
class Scripted:
    """What one replica does when it is asked."""

    question: bytes
    segments: list[bytes]
    close: Close
    hurried: bool = field(default=False)
    """The end comes before the loop runs."""
    slow: bool = False
    """The caller does not take the answer as fast as it comes."""

    @property
    def method(self) -> bytes:
        return self.question.partition(b" ")[0]

    @property
    def raw(self) -> bytes:
        return b"".join(self.segments)


def scripted(r: Random) -> Scripted:
    question = r.choice(QUESTIONS)
    if r.random() < 0.3:
        return Scripted(
            question, cut(r, proper(r, question)), r.choice(("stay", "end")), r.random() < 0.3, r.random() < 0.2
        )
    raw = answer(r)
    if r.random() < 0.1:
        raw += r.choice((b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", b"\r\n", b"x", b"\x00"))
    for _ in range(r.choice((0, 0, 0, 1, 1, 2))):
        raw = mutated(r, raw)
    if r.random() < 0.2:
        raw = raw[: r.randrange(len(raw) + 1)]
    return Scripted(question, cut(r, raw), r.choice(CLOSES), r.random() < 0.3, r.random() < 0.2)


def proper(r: Random, question: bytes) -> bytes:
    """An answer with nothing wrong in it, or a part of one."""
    if b"upgrade" in question and r.random() < 0.7:
        return r.choice(INTERIMS[:3]) * r.randrange(3) + SWITCH + r.randbytes(r.randrange(30))
    lines = [r.choice(STATUSES[:5]), *r.sample(GOOD_LINES[:9], r.randrange(3))]
    body = r.randbytes(r.randrange(30))
    if r.random() < 0.4:
        lines.append(b"content-length: %d" % len(body))
    elif r.random() < 0.7 and lines[0][7:8] == b"1":
        lines.append(b"transfer-encoding: chunked")
        body = b"".join(r.choice(CHUNKS[:-1]) for _ in range(r.randrange(4))) + r.choice(LAST)
    raw = b"\r\n".join([*lines, b"", b"" if question.startswith(b"HEAD") else body])
    return raw[: r.randrange(len(raw))] if r.random() < 0.2 else raw


def answer(r: Random) -> bytes:
    interims = b"".join(r.choice(INTERIMS) for _ in range(r.choice((0, 0, 0, 0, 1, 2, 12))))
    lines = [r.choice(STATUSES) if r.random() < 0.9 else r.choice(BAD_STATUSES)]
    fields = r.sample(GOOD_LINES, r.choice((0, 1, 2))) + r.sample(BAD_LINES, r.choice((0, 0, 0, 0, 1, 2)))
    how, body = r.random(), b""
    if how < 0.4:
        body = r.choice((b"", b"abc", b"hello", r.randbytes(30), PROPER))
        fields.append(b"content-length: %d" % max(0, len(body) + r.choice((0, 0, 0, 0, 0, 1, -1))))
    elif how < 0.7:
        fields.append(b"transfer-encoding: chunked")
        body = chunked(r) if r.random() < 0.6 else r.choice(CHUNKS) + r.choice(LAST)
    else:
        body = r.randbytes(r.choice((0, 9)))
    r.shuffle(fields)
    ends = [b"\r\n" if r.random() < 0.985 else r.choice((b"\n", b"\r", b"\r\r\n")) for _ in range(len(fields) + 2)]
    return interims + b"".join(line + end for line, end in zip([*lines, *fields, b""], ends, strict=True)) + body


class Replica:
    """Every connection is for one question: the case's bytes, or the proper answer."""

    def __init__(self, stand: Stand, case: Scripted) -> None:
        self._stand, self._case = stand, case
        self.asked = 0

    def dial(self, factory: Factory) -> Pipe:
        pipe = Pipe(self._stand.loop, factory())
        pipe.heard = partial(self._heard, pipe)
        return pipe

    def _heard(self, pipe: Pipe, data: bytes) -> None:
        if not data.endswith(b"{}"):
            return  # Of a connection that was switched: the caller's next words.
        self.asked += 1
        if b" /second HTTP/1.1\r\n" in data:
            pipe.feed(PROPER)
            return
        for segment in self._case.segments:
            if not self._case.hurried:
                self._stand.loop.call_soon(pipe.feed, segment)
            else:
                pipe.feed(segment)
        if self._case.close != "stay":
            self._stand.loop.call_soon(partial(pipe.feed_end, reset=self._case.close == "reset"))


@dataclass
class Heard:
    """What the caller got."""

    raw: bytes
    ended: str | None
    """How the gateway ended the connection by itself."""
    asked_again: bool


def serve(stand: Stand, case: Scripted) -> Heard:
    stand.loop.dial = Replica(stand, case).dial
    caller = stand.caller()
    if case.slow:
        caller.take_slowly(True)
    caller.feed(case.question + _REST)
    stand.loop.pump()
    if case.slow:
        caller.take_slowly(False)
        stand.loop.pump()
    got, waited = 0, 0
    while caller.ended is None and waited < WAITS_MAX:
        if got != len(caller.written):
            got = len(caller.written)
            answers, _ = read_answers(b"".join(caller.written), [case.method], ended=False)
            if answers and answers[0].whole:
                break
        waited += 1
        stand.loop.next_timer()
    asked_again = caller.ended is None and waited < WAITS_MAX
    if asked_again:
        caller.feed(SECOND)
        stand.loop.pump()
    ended = caller.ended
    caller.feed_end()
    stand.loop.pump()
    stand.settle(caller)
    return Heard(b"".join(caller.written), ended, asked_again)


def judge(case: Scripted, heard: Heard) -> str:
    """How it was answered, for the tally."""
    if heard.raw.startswith(b"HTTP/1.1 101 "):
        return judge_switch(case, heard)
    answers, wrong = read_answers(heard.raw, [case.method, b"POST"], ended=heard.ended == "closed")
    assert not wrong, f"the caller cannot read its answers: {wrong}"
    assert answers or heard.ended == "aborted", "no answer, and no sign that there will be none"
    if heard.asked_again:
        assert len(answers) == 2 and answers[1].whole, "the second question was not answered"
        second = answers[1]
        assert (second.value(b"x-second"), second.body) == (b"yes", b"proper"), f"not the answer to this: {second}"
    else:
        assert len(answers) < 2, "an answer that nobody asked for"
    return judge_first(case, heard, answers[0]) if answers else "broken off"


def judge_first(case: Scripted, heard: Heard, answer: Answer) -> str:
    strict, _ = read_answers(case.raw, [case.method], ended=case.close == "end")
    theirs = strict[0] if strict else None
    if answer.value(b"content-type") == b"application/json":
        assert answer.whole and answer.status in (502, 504), f"the gateway says {answer.status} {answer.body!r}"
        return "refused a whole answer" if theirs is not None and theirs.whole else "refused"
    assert theirs is not None, f"an answer that h11 does not see: {answer}"
    assert answer.status == theirs.status, f"status {answer.status} for {theirs.status}"
    assert passing(answer.headers) == passing(theirs.headers), f"{answer.headers} for {theirs.headers}"
    if answer.whole:
        assert theirs.whole, "a broken answer looks whole to the caller"
        assert answer.body == theirs.body, f"body {answer.body!r} for {theirs.body!r}"
        return "passed on"
    assert heard.ended in ("aborted", None), "a broken answer ends as if it were whole"
    assert theirs.body.startswith(answer.body), f"body {answer.body!r} for {theirs.body!r}"
    return "broken off" if heard.ended else "waiting"


def passing(headers: Headers) -> Headers:
    """The end-to-end headers, without what the gateway says by itself."""
    named = {t.strip(b" \t").lower() for name, value in headers if name == b"connection" for t in value.split(b",")}
    return [
        (name, value)
        for name, value in headers
        if name not in _DROPPED and name not in named and not name.startswith(b"x-causeway-")
    ]


def judge_switch(case: Scripted, heard: Heard) -> str:
    """After 101 the bytes go through as they are."""
    connection = h11.Connection(h11.CLIENT, HEAD_BYTES_MAX)
    upgrade = [("host", "a"), ("upgrade", "websocket"), ("connection", "upgrade")]
    connection.send(h11.Request(method="GET", target="/", headers=upgrade))
    connection.send(h11.EndOfMessage())
    connection.receive_data(case.raw)
    while isinstance(event := connection.next_event(), h11.InformationalResponse) and event.status_code != 101:
        pass
    assert isinstance(event, h11.InformationalResponse), f"h11 sees no switch but {event}"
    assert b"\r\nupgrade: websocket\r\n" in case.question
    assert heard.raw.partition(b"\r\n\r\n")[2] == connection.trailing_data[0]
    return "switched"
