"""Requests that could be read in two ways are read in none: refused, and nothing of them reaches a replica."""

import asyncio

import msgspec
import pytest

from tests.gateway.dataplane.happened import KEY
from tests.gateway.dataplane.stage import QUICK, request, staged

_HEAD = f"POST /model-m1/predict HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {KEY}\r\n".encode()
_SMUGGLED = b"GET /model-m1/sync/secret HTTP/1.1\r\nhost: g\r\n\r\n"


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(_HEAD + b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", id="CL and TE"),
        pytest.param(_HEAD + b"transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n", id="TE and CL"),
        pytest.param(_HEAD + b"content-length: 1\r\ncontent-length: 2\r\n\r\nab", id="two lengths"),
        pytest.param(_HEAD + b"content-length: 1\r\ncontent-length: 1\r\n\r\na", id="the same length twice"),
        pytest.param(_HEAD + b"content-length: 1, 1\r\n\r\na", id="a list of lengths"),
        pytest.param(_HEAD + b"content-length: +1\r\n\r\na", id="signed length"),
        pytest.param(_HEAD + b"content-length: 1_0\r\n\r\na", id="length with an underscore"),
        pytest.param(_HEAD + b"content-length: 0x1\r\n\r\na", id="hex length"),
        pytest.param(_HEAD + b"content-length:\r\n\r\na", id="no length"),
        pytest.param(_HEAD + b"content-length: 99999999999999999999\r\n\r\na", id="length beyond reason"),
        pytest.param(_HEAD + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n", id="TE xchunked"),
        pytest.param(_HEAD + b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n", id="TE list"),
        pytest.param(_HEAD + b"transfer-encoding: chunked\r\ntransfer-encoding: x\r\n\r\n", id="TE twice"),
        pytest.param(_HEAD + b"transfer-encoding : chunked\r\n\r\n0\r\n\r\n", id="space before the colon"),
        pytest.param(_HEAD + b"transfer-encoding:\x0bchunked\r\n\r\n0\r\n\r\n", id="vertical tab"),
        pytest.param(_HEAD + b"x: 1\r\n transfer-encoding: chunked\r\n\r\n", id="folded line"),
        pytest.param(_HEAD + b"x: 1\rtransfer-encoding: chunked\r\n\r\n", id="bare CR"),
        pytest.param(_HEAD + b"x: 1\ntransfer-encoding: chunked\r\n\r\n", id="bare LF"),
        pytest.param(_HEAD + b"x: a\x00b\r\n\r\n", id="NUL in a value"),
        pytest.param(_HEAD + b"x\x00: a\r\n\r\n", id="NUL in a name"),
        pytest.param(_HEAD + b": nameless\r\n\r\n", id="no name"),
        pytest.param(_HEAD + b"no colon\r\n\r\n", id="no colon"),
        pytest.param(_HEAD + b"host: other\r\n\r\n", id="two hosts"),
        pytest.param(b"POST /model-m1/predict HTTP/1.1\r\n\r\n", id="no host"),
        pytest.param(b"POST  /model-m1/predict HTTP/1.1\r\nhost: g\r\n\r\n", id="two spaces"),
        pytest.param(b"POST /model-m1/pre dict HTTP/1.1\r\nhost: g\r\n\r\n", id="space in the target"),
        pytest.param(b"POST /model-m1/predict\r\nhost: g\r\n\r\n", id="HTTP/0.9"),
        pytest.param(b"POST /model-m1/predict HTTP/2.0\r\nhost: g\r\n\r\n", id="HTTP/2.0"),
        pytest.param(b"POST http://other/model-m1/predict HTTP/1.1\r\nhost: g\r\n\r\n", id="two origins"),
        pytest.param(b"POST ftp://g/model-m1/predict HTTP/1.1\r\nhost: g\r\n\r\n", id="other scheme"),
        pytest.param(b"CONNECT g:80 HTTP/1.1\r\nhost: g\r\n\r\n", id="CONNECT"),
        pytest.param(b"POST /model-m1/predict HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n", id="1.0 and TE"),
        pytest.param(_HEAD.replace(b"\r\n", b"\n") + b"\n", id="LF only"),
        pytest.param(_HEAD + b"expect: 200-ok\r\n\r\n", id="unknown expectation"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="TLS"),
        pytest.param(b"\x00" * 100, id="zeros"),
        pytest.param(_HEAD + b"x: " + b"y" * 70_000 + b"\r\n\r\n", id="huge header"),
    ],
)
async def test_a_head_with_no_one_meaning_is_refused_and_the_connection_ends(raw: bytes) -> None:
    async with staged() as stage:
        replica = await stage.serving()
        caller = await stage.caller()
        caller.send(raw + _SMUGGLED)
        got = await caller.got()
        assert got.status in (400, 405, 417, 431, 501, 505)
        assert got.headers["connection"] == "close"
        assert await caller.ended() == b""
        assert not replica.seen


@pytest.mark.parametrize(
    "chunks",
    [
        b"0x3\r\nabc\r\n0\r\n\r\n",
        b"+3\r\nabc\r\n0\r\n\r\n",
        b"3 3\r\nabc\r\n0\r\n\r\n",
        b"\r\n3\r\nabc\r\n0\r\n\r\n",
        b"3\nabc\n0\n\n",
        b"3\r\nabcd\r\n0\r\n\r\n",
        b"3\r\nabc0\r\n\r\n",
        b"3;\x00\r\nabc\r\n0\r\n\r\n",
        b"3;x\ny\r\nabc\r\n0\r\n\r\n",
        b"fffffffffffffffff\r\nabc\r\n",
        b"0\r\n folded: 1\r\n\r\n",
        b"0\r\nno colon\r\n\r\n",
        b"-1\r\nabc\r\n0\r\n\r\n",
        b"3" + b";" * 2000,
    ],
)
async def test_a_chunked_body_whose_end_cannot_be_known_is_refused(chunks: bytes) -> None:
    async with staged() as stage:
        await stage.serving()
        caller = await stage.caller()
        caller.send(_HEAD + b"transfer-encoding: chunked\r\n\r\n" + chunks + _SMUGGLED)
        got = await caller.got()
        assert (got.status, "malformed" in got.error) == (400, True)
        assert await caller.ended() == b""


@pytest.mark.parametrize("chunks", [b"0x3\r\nabc\r\n0\r\n\r\n", b"3\r\nabcd\r\n0\r\n\r\n"])
async def test_the_control_app_never_sees_a_request_after_a_malformed_body(chunks: bytes) -> None:
    async with staged() as stage:
        caller = await stage.caller()
        caller.send(b"POST /early HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\n\r\n" + chunks + _SMUGGLED)
        try:
            rest = await caller.ended()
        except ConnectionResetError:
            rest = b""
        assert rest.count(b"HTTP/1.1") <= 1


@pytest.mark.parametrize("size", [1, 2, 3, 7])
async def test_a_request_may_come_in_pieces_of_any_size(size: int) -> None:
    async with staged() as stage:
        await stage.serving()
        caller = await stage.caller()
        chunked = _HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\na;x\r\n0123456789\r\n0\r\nt: 1\r\n\r\n"
        raw = b"\r\n" + request("/model-m1/predict", b"sized") + chunked
        for at in range(0, len(raw), size):
            caller.send(raw[at : at + size])
            await asyncio.sleep(0)
        assert (await caller.got()).body == b"sized"
        assert (await caller.got()).body == b"hello0123456789"


async def test_a_head_that_does_not_come_to_its_end_is_not_waited_for_for_ever() -> None:
    async with staged(msgspec.structs.replace(QUICK, head_timeout_s=0.1)) as stage:
        caller = await stage.caller()
        caller.send(b"POST /model-m1/predict HTTP/1.1\r\n")
        assert (await caller.got()).status == 408
        assert await caller.ended() == b""


async def test_an_idle_connection_is_closed_after_a_while() -> None:
    async with staged(msgspec.structs.replace(QUICK, keep_alive_s=0.05, head_timeout_s=0.05)) as stage:
        await stage.serving()
        caller = await stage.caller()
        caller.send(request("/model-m1/predict"))
        assert (await caller.got()).status == 200
        assert await caller.ended() == b""


async def test_an_absolute_target_is_understood_when_it_agrees_with_the_host() -> None:
    async with staged() as stage:
        replica = await stage.serving()
        caller = await stage.caller()
        caller.send(request("http://gateway/model-m1/predict?x=1"))
        assert (await caller.got()).status == 200
        assert replica.seen[0].line == "POST /v1/models/model:predict?x=1 HTTP/1.1"
        caller.send(request("http://gateway/v1/models"))
        assert (await caller.got()).body == b"control POST /v1/models 2"
