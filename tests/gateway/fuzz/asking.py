"""One caller's bytes through the gateway, judged: whatever goes on is what h11 reads, request for request, in order.

`ask` runs a case; `judge` raises AssertionError with what is wrong. The replica is h11 too, so a stream towards it
that is malformed, or that holds a request nobody sent, shows at once.
"""

import re
from dataclasses import dataclass
from functools import partial

from gateway.addresses import Address, Unnamed, parse
from gateway.dataplane import http2
from tests.gateway.fuzz.grammar import Sent
from tests.gateway.fuzz.loop import Factory, Pipe
from tests.gateway.fuzz.stand import Stand
from tests.gateway.fuzz.strict import Answer, Headers, Request, RequestReader, read_answers, read_requests

REFUSALS = frozenset((400, 401, 404, 405, 408, 413, 417, 426, 431, 501, 502, 504, 505))
_ABSOLUTE = re.compile(r"(?i)https?://([^/?]+)(.*)")
_STEERS = frozenset(
    (
        b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authorization", b"te",
        b"trailer", b"transfer-encoding", b"upgrade", b"authorization", b"x-api-key", b"expect", b"content-length",
        b"x-forwarded-for", b"x-request-id", b"x-baseten-request-id", b"x-forwarded-proto", b"host",
    )
)  # fmt: skip


class Replica:
    """Answers whatever h11 reads; `seen` is all of it, in order."""

    def __init__(self, stand: Stand, *, early: bool, slow: bool) -> None:
        self._stand, self._early, self._slow = stand, early, slow
        self._connections: list[tuple[Pipe, RequestReader]] = []
        self.seen: list[Request] = []
        self._answered = 0

    def dial(self, factory: Factory) -> Pipe:
        pipe = Pipe(self._stand.loop, factory())
        reader = RequestReader(self.seen)
        pipe.heard = partial(self._heard, pipe, reader)
        self._connections.append((pipe, reader))
        return pipe

    def _heard(self, pipe: Pipe, reader: RequestReader, data: bytes) -> None:
        if self._slow:
            pipe.take_slowly(True)
            self._stand.loop.call_soon(pipe.take_slowly, False)
        reader.feed(data)
        assert reader.ending == "open", f"the gateway wrote what h11 refuses: {reader.why}, in {data!r}"
        for request in self.seen[self._answered :]:
            if request.whole or self._early:
                self._answered += 1
                pipe.feed(self._answer(request, self._answered - 1))

    def _answer(self, request: Request, number: int) -> bytes:
        head = b"HTTP/1.1 200 OK\r\nx-seen: %d\r\n" % number
        if number % 2 and request.method != b"HEAD":
            return head + b"transfer-encoding: chunked\r\n\r\n7\r\nreplica\r\n0\r\n\r\n"
        return head + b"content-length: 7\r\n\r\n" + (b"" if request.method == b"HEAD" else b"replica")


@dataclass
class Told:
    """What came of a case."""

    written: bytes
    ended: str | None
    eof_written: bool
    seen: list[Request]
    controlled: list[Request]


def ask(stand: Stand, case: Sent) -> Told:
    replica = Replica(stand, early=case.early, slow=case.slow)
    stand.loop.dial = replica.dial
    caller = stand.caller()
    for segment in case.segments:
        if case.slow:
            caller.take_slowly(True)
        caller.feed(segment)
        if not case.hurried:
            stand.loop.pump()
        if case.slow:
            caller.take_slowly(False)
    if case.end == "stay" or not case.hurried:
        stand.loop.pump()
    told = Told(b"", caller.ended, caller.eof_written, replica.seen, list(stand.controlled))
    if case.end != "stay":
        caller.feed_end(reset=case.end == "reset")
    stand.loop.pump()
    told.written = b"".join(caller.written)
    told.controlled = list(stand.controlled)
    stand.settle(caller)
    return told


def judge(case: Sent, told: Told) -> str:
    """How it was answered, for the tally."""
    strict = read_requests(case.raw)
    whole = [each for each in strict.requests if each.whole]
    methods = [each.method if each.method != b"CONNECT" else b"GET" for each in strict.requests]
    answers, wrong = read_answers(told.written.removesuffix(http2.REFUSAL), methods, ended=told.ended == "closed")
    if wrong and refused_head(strict, answers):
        wrong = ""  # An answer to HEAD with a body, because the head that says so was refused: the connection ends.
    assert not wrong, f"the caller cannot read its answers: {wrong}"
    claimed: set[int] = set()
    for number, answer in enumerate(answers):
        asked = strict.requests[number] if number < len(strict.requests) else None
        one(case, told, number, asked, answer, claimed)
    nothing_more(case, told, strict, answers, claimed)
    no_silence(told, case, strict, whole, answers)
    if not answers:
        return "no answer"
    return "passed on" if answers[-1].value(b"x-seen") or answers[-1].value(b"x-controlled") else "refused"


def refused_head(strict: RequestReader, answers: list[Answer]) -> bool:
    last = len(answers) - 1
    if last < 0 or last >= len(strict.requests):
        return False
    refused = answers[last].status in REFUSALS and answers[last].value(b"connection") == b"close"
    return refused and strict.requests[last].method == b"HEAD"


def one(case: Sent, told: Told, number: int, asked: Request | None, answer: Answer, claimed: set[int]) -> None:
    """The `number`-th answer belongs to the `number`-th request."""
    seen, controlled = answer.value(b"x-seen"), answer.value(b"x-controlled")
    if seen is None and controlled is None:
        last = answer.value(b"connection") == b"close"
        known = answer.status in REFUSALS or answer.status == (200 if asked and b"/openai/" in asked.target else 202)
        assert known, f"answer {number} has the status {answer.status}"
        assert asked is not None or last, "more answers than requests"
        surprising = case.clean and asked is not None and asked.whole
        assert not surprising, f"request {number} has nothing wrong and got {answer.status} {answer.body!r}"
        return
    assert asked is not None, f"answer {number} is to a request that h11 does not see"
    assert asked.whole or case.early or controlled is not None, f"request {number} is not complete and was answered"
    assert answer.whole or told.ended == "aborted", f"answer {number} stops short"
    if seen is not None:
        claimed.add(int(seen))
        same(asked, told.seen[int(seen)], early=case.early)
    else:
        assert controlled is not None
        claimed.add(-1 - int(controlled))
        same_for_control(asked, told.controlled[int(controlled)])


def same(asked: Request, got: Request, *, early: bool = False, partly: bool = False) -> None:
    """What the replica got is what the caller asked, as h11 reads both."""
    assert got.method == asked.method, f"method {got.method!r} for {asked.method!r}"
    wanted = on_replica(asked)
    assert got.target == wanted, f"target {got.target!r} for {wanted!r}"
    if got.whole and not partly:
        assert asked.whole, "the replica got an end that the caller did not send"
        assert got.body == asked.body, f"body {got.body!r} for {asked.body!r}"
    else:
        assert early or partly, "the replica got a part only"
        assert asked.body.startswith(got.body), f"body {got.body!r} for {asked.body!r}"
    assert passing(got.headers) == passing(asked.headers), f"{passing(got.headers)} for {passing(asked.headers)}"
    assert not got.values(b"authorization") + got.values(b"x-api-key"), "the caller's key went on"
    hosts = asked.values(b"host")
    assert got.values(b"host") == (hosts or [b"model"])


def on_replica(asked: Request) -> bytes:
    address = where(asked)
    assert isinstance(address, Address | Unnamed), f"{asked.target!r} is none of the replica's"
    return address.upstream.encode()


def where(asked: Request) -> object:
    target, host = asked.target.decode("latin-1"), b"".join(asked.values(b"host")).decode("latin-1")
    if absolute := _ABSOLUTE.fullmatch(target):
        host, target = absolute[1], absolute[2] if absolute[2].startswith("/") else "/" + absolute[2]
    return parse(asked.method.decode(), host, target, "localhost")


def same_for_control(asked: Request, got: Request) -> None:
    assert where(asked) is None, f"{asked.target!r} is the data plane's"
    assert got.method == asked.method, f"method {got.method!r} for {asked.method!r}"
    assert asked.body.startswith(got.body), f"body {got.body!r} for {asked.body!r}"
    assert not got.whole or (asked.whole and got.body == asked.body), "the control app got another body"


def passing(headers: Headers) -> Headers:
    """The end-to-end headers, those that steer or that the gateway sets itself aside."""
    named = {t.strip(b" \t").lower() for name, value in headers if name == b"connection" for t in value.split(b",")}
    return [
        (name, value)
        for name, value in headers
        if name not in _STEERS and (name not in named or name == b"content-type")
    ]


def nothing_more(case: Sent, told: Told, strict: RequestReader, answers: list[Answer], claimed: set[int]) -> None:
    """At most one request went on without an answer that the caller got: the one that was cut short."""
    seen = [each for number, each in enumerate(told.seen) if number not in claimed]
    controlled = [each for number, each in enumerate(told.controlled) if -1 - number not in claimed]
    assert len(seen) + len(controlled) <= 1, f"requests that nobody was answered: {seen} {controlled}"
    places = strict.requests[max(0, len(answers) - 1) : len(answers) + 1]
    for got in seen:
        assert any(fits(asked, got) for asked in places), f"the replica got what nobody sent: {got}"
    for got in controlled:
        methods = [each.method for each in places]
        assert got.method in methods, f"the control app got what nobody sent: {got}"


def fits(asked: Request, got: Request) -> bool:
    try:
        same(asked, got, partly=not (got.whole and asked.whole))
    except AssertionError:
        return False
    return asked.whole or not got.whole


def no_silence(told: Told, case: Sent, strict: RequestReader, whole: list[Request], answers: list[Answer]) -> None:
    """Whoever sent a whole request and still listens is answered, or knows that the connection is over."""
    if case.end != "stay" or len(answers) >= len(whole) or told.written.endswith(http2.REFUSAL):
        return
    asked = strict.requests[len(answers)]
    assert told.ended is not None or told.eof_written, f"no answer to {asked}"
    over = answers and (answers[-1].value(b"connection") == b"close" or strict.requests[len(answers) - 1].closes)
    assert over or told.ended is not None, "the connection ended without a word"
