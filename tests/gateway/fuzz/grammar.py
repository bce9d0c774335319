"""Bytes that a caller might send: requests as they should be, and as those who smuggle would have them.

Everything comes from one `random.Random`, which a seed or Hypothesis stands behind.
"""

from dataclasses import dataclass, field
from random import Random
from typing import Literal

from tests.gateway.dataplane.happened import KEY

End = Literal["stay", "leave", "reset"]
ENDS: tuple[End, ...] = ("stay", "leave", "reset")
METHODS = (b"POST", b"GET", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"HEAD")
TARGETS = (
    b"/model-m1/predict",
    b"/model-m1/production/predict?x=1",
    b"/model-m1/environments/production/predict",
    b"/model-m1/deployment/d1/predict",
    b"/model-m1/v1/chat/completions",
    b"/model-m1/v1/embeddings?a=b&c",
)
NAMING_TARGETS = (b"/v1/chat/completions", b"/openai/v1/embeddings?x", b"/v1/messages?beta=true")
"""Of which the body says the model."""
NAMING = (b'{"model":"iris","x":[1]}', b'{"messages":["{}"], "model" : "iris/production"}')
BODIES = (
    b"", b"abc", b"hello", b"GET /smuggled HTTP/1.1\r\nhost: g\r\n\r\n", *NAMING, b'{"model":"none"}', b'{"model":1}',
    b'{"x":"\\u00', b'{"a":{"model":"iris"}}', b'{"model":"iris","model":"none"}', b"[" * 300,
)  # fmt: skip
ANY_METHOD_TARGETS = (
    b"/model-m1/sync/a",
    b"/model-m1/sync//b/../c%0d%0a?x=%00",
    b"/model-m1/production/sync/v1/models",
    b"/v1/models",
    b"/early?x=1",
    b"http://gateway/model-m1/sync/a",
    b"HTTP://GATEWAY/model-m1/sync/z?q",
    b"http://gateway/v1/models?x",
)
ODD_TARGETS = (
    b"*", b"/", b"/model-m1", b"/model-m1/", b"/model-/predict", b"/model-nope/predict", b"/model-m1/wake",
    b"/model-m1/websocket", b"http://other/model-m1/predict", b"http://g:80@gateway/", b"gateway:80", b"//gateway/x",
    b"/model-m1/sync/\xc3\xbc", b"/model-m1/sync/a#b", b"/a b", b"/\x00", b"/\x7f", b"https://gateway/model-m1/sync/s",
    b"http://gateway", b"http://gateway?x=1", b"/model-m1/deployment/d2/predict", b"/model-m1/async_predict",
    b"/model-m1/v1/models", b"/openai/v1/models", b"/openai/v1/models/iris", b"/openai/v1/none", b"",
)  # fmt: skip
HOSTS = (b"gateway",) * 6 + (b"GATEWAY", b"gateway:8000", b"model-m1.localhost", b"model-m1-production.localhost:80")
GOOD_LINES = (
    b"accept: */*", b"X-A:b", b"x-empty:", b"x-spaces:   a  b \t", b"x-request-id: mine-1", b"connection: keep-alive",
    b"cookie: a=b; c=d", b"x-forwarded-for: 1.2.3.4", b"x-latin: \xe9\xff", b"te: trailers", b"keep-alive: 5",
    b"connection: x-a, x-named", b"x-named: gone", b"expect: 100-continue", b"connection: close",
    b"x-api-key: " + KEY.encode(), b"content-type: application/json", b"upgrade: h2c",
    b"connection: upgrade, http2-settings", b"upgrade: websocket",
    b"connection: content-length, host, content-type", b"proxy-connection: close", b"connection: Upgrade",
)  # fmt: skip
BAD_LINES = (
    b"content-length: 3", b"content-length: 0", b"Content-Length: 5", b"content-length: 05", b"content-length: +3",
    b"content-length: -1", b"content-length: 3, 3", b"content-length: 0x3", b"content-length: 99999999999999999999",
    b"content-length:\x0b3", b"content-length : 3", b" content-length: 3", b"content-length:", b"content-length: 3 4",
    b"transfer-encoding: chunked", b"Transfer-Encoding: CHUNKED", b"transfer-encoding: identity",
    b"transfer-encoding: gzip, chunked", b"transfer-encoding: chunked, chunked", b"transfer-encoding:\tchunked",
    b"transfer-encoding: xchunked", b"transfer-encoding : chunked", b"\ttransfer-encoding: chunked",
    b"transfer_encoding: chunked", b"transfer-encoding: chunked;q=1", b"transfer-encoding:", b"host: other",
    b"host: gateway", b"Host:", b"x-a: b\r", b"x-a: b\x00c", b"x\x00: a", b": nameless", b"no colon", b"x-\xe9: a",
    b"x y: a", b" folded: on", b"x-a: b\r\n c", b"x-a: b\n c: d", b"x-a: \x7f", b"x-a: a\x01b", b"expect: 200-ok",
    b"x-big: " + b"y" * 70_000, b"authorization: Api-Key wrong.key", b"connection: close, upgrade", b"x\x0b: a",
    b"x-a: a\x85b", b"x-a:\xa0b", b"transfer-encoding: chunked\x0c", b"content-length: 3\xa0", b"x-a: \x0c",
)  # fmt: skip
CHUNKS = (
    b"5\r\nhello\r\n", b"3;x=y\r\nabc\r\n", b"003\r\nabc\r\n", b"A\r\n0123456789\r\n", b"a\r\n\r\n0\r\n\r\nxyz\r\n",
    b"1\r\n\x00\r\n", b'2;a="b;c"\r\nzz\r\n', b"4 \r\nwxyz\r\n",
)  # fmt: skip
BAD_CHUNKS = (
    b"3\t;\r\nabc\r\n", b"3 ;x=y\r\nabc\r\n",
    b"5\nhello\n", b"5\r\nhello", b"5\r\nhelloX\r\n", b"0x5\r\nhello\r\n", b"+5\r\nhello\r\n", b"-1\r\n\r\n",
    b"5;\x00\r\nhello\r\n", b"5;a\nb\r\nhello\r\n", b" 5\r\nhello\r\n", b"\r\n", b"fffffffffffffffff\r\n", b";x\r\n",
    b"5\r\r\nhello\r\n", b"5\rhello\r\n", b"5 5\r\nhello\r\n", b"5_0\r\n", b"g\r\n",
    b"5;" + b"e" * 3000 + b"\r\nhello\r\n",
    b"5\x0b\r\nhello\r\n", b"fffffffffffffff\r\n",
)  # fmt: skip
LAST = (b"0\r\n\r\n",) * 4 + (b"0\r\nx-trailer: 1\r\n\r\n", b"000\r\n\r\n", b"0;x\r\n\r\n")
BAD_LAST = (
    b"0\n\n",
    b"0\r\n",
    b"0\r\n \r\n\r\n",
    b"0\r\nno colon\r\n\r\n",
    b"0\r\nx: \x00\r\n\r\n",
    b"0\r\n\n",
    b"0\r\n\r",
)
SPLICES = (
    b"\r\n", b"\n", b"\r", b"\x00", b" ", b"\t", b":", b"\r\n\r\n", b"\n\n", b"0", b"\xff", b"\r\n ", b"HTTP/1.1",
    b"GET /smuggled HTTP/1.1\r\nhost: g\r\n\r\n", b"0\r\n\r\n", b"5\r\n", b"\x0b", b"\x0c", b";", b",",
)  # fmt: skip
GARBAGE = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x00" * 40, b"\r\n\r\n", b"\n",
    b"GET / HTTP/0.9\r\n\r\n", b"GET /\r\n", b"get / http/1.1\r\nhost: g\r\n\r\n",
    b" GET / HTTP/1.1\r\nhost: g\r\n\r\n",
    b"GET / HTTP/1.1\r\n host: g\r\n\r\n", b"\r\nGET", b"POST http://[::1 HTTP/1.1\r\n\r\n", b"{}",
)  # fmt: skip
VERSIONS = (b"HTTP/1.1",) * 8 + (b"HTTP/1.0",)
BAD_STARTS = (
    b"GET  /a HTTP/1.1", b"GET /a  HTTP/1.1", b"GET\t/a HTTP/1.1", b"GET /a HTTP/1.1 ", b"GET /a HTTP/1.2", b"GET /a",
    b"GET /a HTTP/2.0", b"GET /a HTTP/01.1", b"G\x00T /a HTTP/1.1", b"GET /a http/1.1", b"CONNECT gateway:80 HTTP/1.1",
    b"GET /a HTTP/1.1\n", b"GET /a\x0bHTTP/1.1", b"GET /a HTTP/1.1\r", b"(a) /a HTTP/1.1", b"GET /a HTTP/3", b"",
)  # fmt: skip


@dataclass
class Sent:
    """What one caller does."""

    segments: list[bytes]
    end: End = "stay"
    early: bool = False
    """The replica answers as soon as it has the head."""
    hurried: bool = False
    """All segments come before the loop runs."""
    slow: bool = False
    """Neither side takes what is written as fast as it comes."""
    clean: bool = field(default=False)
    """There is nothing in it to refuse."""

    @property
    def raw(self) -> bytes:
        return b"".join(self.segments)


def sent(r: Random) -> Sent:
    clean = r.random() < 0.25
    raw = b"".join(clean_request(r) if clean else request(r) for _ in range(r.choice((1, 1, 2, 2, 3, 4))))
    if not clean:
        if r.random() < 0.15:
            raw += r.choice(GARBAGE)
        for _ in range(r.choice((0, 0, 0, 1, 1, 2))):
            raw = mutated(r, raw)
    if r.random() < 0.15:
        raw = raw[: r.randrange(len(raw) + 1)]
    return Sent(
        segments=cut(r, raw),
        end=r.choice(("stay", "stay", "leave", "reset")),
        early=r.random() < 0.15,
        hurried=r.random() < 0.3,
        slow=r.random() < 0.2,
        clean=clean,
    )


def cut(r: Random, raw: bytes) -> list[bytes]:
    """Into segments: one, a few, or every byte for itself."""
    how = r.random()
    if how < 0.3 or len(raw) < 2:
        return [raw]
    if how < 0.4 and len(raw) < 1500:
        return [raw[at : at + 1] for at in range(len(raw))]
    places = sorted(r.randrange(len(raw) + 1) for _ in range(r.randrange(1, 8)))
    return [raw[a:b] for a, b in zip([0, *places], [*places, len(raw)], strict=True)]


def clean_request(r: Random) -> bytes:
    """One that has to be answered by what it is addressed to."""
    if r.random() < 0.5:
        start = b"POST " + r.choice(TARGETS) + b" HTTP/1.1"
    else:
        start = r.choice(METHODS) + b" " + r.choice(ANY_METHOD_TARGETS) + b" HTTP/1.1"
    lines = [start, b"host: gateway", b"authorization: Api-Key " + KEY.encode()]
    lines += r.sample(GOOD_LINES[:9], r.randrange(4))
    body = r.randbytes(r.choice((0, 1, 3, 40)))
    if r.random() < 0.15:
        lines[0], body = b"POST " + r.choice(NAMING_TARGETS) + b" HTTP/1.1", r.choice(NAMING)
        if r.random() < 0.5:
            chunks = b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in cut(r, body) if each)
            return b"\r\n".join([*lines, b"transfer-encoding: chunked", b"", chunks + r.choice(LAST)])
    elif r.random() < 0.4:
        chunks = b"".join(r.choice(CHUNKS[:-1]) for _ in range(r.randrange(4)))
        return b"\r\n".join([*lines, b"transfer-encoding: chunked", b"", chunks + r.choice(LAST)])
    if body or r.random() < 0.5:
        lines.append(b"content-length: %d" % len(body))
    return b"\r\n".join([*lines, b"", body])


def request(r: Random) -> bytes:
    """One with something odd about it, most times."""
    target = r.choice((*TARGETS, *ANY_METHOD_TARGETS, *ODD_TARGETS, *NAMING_TARGETS, *NAMING_TARGETS))
    start = r.choice((*METHODS, b"POST", b"POST")) + b" " + target + b" " + r.choice(VERSIONS)
    if r.random() < 0.06:
        start = r.choice(BAD_STARTS)
    lines = [b"host: " + r.choice(HOSTS)]
    if r.random() < 0.95:
        lines.append(b"authorization: Bearer " + KEY.encode())
    lines += r.sample(GOOD_LINES, r.choice((0, 0, 1, 2, 3)))
    lines += r.sample(BAD_LINES, r.choice((0, 0, 0, 1, 1, 2)))
    body = b""
    how = r.random()
    if how < 0.4:
        body = r.choice((*BODIES, r.randbytes(20)))
        lines.append(b"content-length: %d" % (len(body) + r.choice((0,) * 8 + (1, -1)) if body else 0))
    elif how < 0.8:
        lines.append(b"transfer-encoding: chunked")
        body = chunked(r)
    r.shuffle(lines)
    ends = [
        b"\r\n" if r.random() < 0.985 else r.choice((b"\n", b"\r", b"\r\r\n", b"\r\n\r\n"))
        for _ in range(len(lines) + 2)
    ]
    return b"".join(line + end for line, end in zip([start, *lines, b""], ends, strict=True)) + body


def chunked(r: Random) -> bytes:
    pieces = [r.choice(CHUNKS) if r.random() < 0.9 else r.choice(BAD_CHUNKS) for _ in range(r.randrange(4))]
    return b"".join(pieces) + (r.choice(LAST) if r.random() < 0.9 else r.choice(BAD_LAST))


def mutated(r: Random, raw: bytes) -> bytes:
    """With a byte or a stretch changed, lost, doubled, or something put in."""
    if not raw:
        return raw
    at = r.randrange(len(raw))
    until = min(len(raw), at + r.choice((1, 1, 1, 2, 8, 40)))
    match r.randrange(5):
        case 0:
            return raw[:at] + raw[until:]
        case 1:
            return raw[:until] + raw[at:]
        case 2:
            return raw[:at] + r.choice(SPLICES) + raw[at:]
        case 3:
            return raw[:at] + r.choice(SPLICES) + raw[until:]
        case _:
            return raw[:at] + bytes((raw[at] ^ (1 << r.randrange(8)),)) + raw[at + 1 :]
