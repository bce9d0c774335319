"""Bytes that pass as they come, both ways, at the pace of the slower side, until one side leaves."""

import asyncio

from tests.gateway.dataplane.happened import KEY
from tests.gateway.dataplane.replicas import Seen, answer
from tests.gateway.dataplane.stage import Caller, Stage, request, staged, until

_CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


async def stream_begun(stage: Stage) -> Caller:
    caller = await stage.caller()
    caller.send(request("/model-m1/v1/chat/completions"))
    await caller.incoming.readuntil(b"\r\n\r\n")
    return caller


async def test_a_stream_passes_chunk_by_chunk() -> None:
    async with staged() as stage:
        ask_for_next = asyncio.Queue[bytes]()

        async def script(seen: Seen, out: asyncio.StreamWriter) -> None:
            out.write(_CHUNKED)
            while part := await ask_for_next.get():
                out.write(b"%x\r\n%b\r\n" % (len(part), part))
            out.write(b"0\r\n\r\n")

        await stage.serving(script)
        caller = await stream_begun(stage)
        for part in (b"data: one\n\n", b"data: two\n\n", b"x" * 100_000):
            ask_for_next.put_nowait(part)
            size = int(await caller.incoming.readuntil(b"\r\n"), 16)
            arrived = await caller.incoming.readexactly(size + 2)
            while len(arrived) - 2 < len(part):
                arrived = arrived[:-2]
                size = int(await caller.incoming.readuntil(b"\r\n"), 16)
                arrived += await caller.incoming.readexactly(size + 2)
            assert arrived[:-2] == part
        ask_for_next.put_nowait(b"")
        assert await caller.incoming.readexactly(5) == b"0\r\n\r\n"
        caller.send(request("/model-m1/nothing"))
        assert (await caller.got()).status == 404


async def test_a_request_body_passes_as_it_comes() -> None:
    async with staged() as stage:
        parts = asyncio.Queue[bytes]()

        async def raw(incoming: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
            await incoming.readuntil(b"\r\n\r\n")
            while (part := await incoming.readuntil(b"\r\n")) != b"0\r\n":
                parts.put_nowait(await incoming.readexactly(int(part, 16) + 2))
            out.write(answer(b"thanks"))

        await stage.serving_raw(raw)
        caller = await stage.caller()
        head = f"POST /model-m1/sync/up HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {KEY}\r\n"
        caller.send(f"{head}transfer-encoding: chunked\r\n\r\n".encode())
        for part in (b"one", b"two", b"three"):
            caller.send(b"%x\r\n%b\r\n" % (len(part), part))
            assert await parts.get() == part + b"\r\n"
        caller.send(b"0\r\n\r\n")
        assert (await caller.got()).body == b"thanks"


async def test_the_replica_learns_at_once_that_its_caller_left() -> None:
    async with staged() as stage:

        async def endless(seen: Seen, out: asyncio.StreamWriter) -> None:
            out.write(_CHUNKED + b"3\r\nabc\r\n")
            await asyncio.Event().wait()

        async def silent(seen: Seen, out: asyncio.StreamWriter) -> None:
            await asyncio.Event().wait()

        replica = await stage.serving(endless)
        caller = await stream_begun(stage)
        caller.leave()
        await asyncio.wait_for(replica.caller_left.wait(), 10)
        replica.script = silent
        replica.caller_left.clear()
        caller = await stage.caller()
        caller.send(request("/model-m1/predict"))
        await replica.seen_count(2)
        caller.leave()
        await asyncio.wait_for(replica.caller_left.wait(), 10)
        await until(lambda: not stage.plane.loads.in_flight)
        assert stage.plane.counts.left == 2


async def test_an_answer_that_breaks_off_is_never_taken_for_complete() -> None:
    async with staged() as stage:

        async def breaks(seen: Seen, out: asyncio.StreamWriter) -> None:
            out.write(_CHUNKED + b"3\r\nabc\r\n")
            await out.drain()
            out.close()

        await stage.serving(breaks)
        caller = await stream_begun(stage)
        try:
            rest = await caller.ended()
        except ConnectionResetError:
            rest = b""
        assert not rest.endswith(b"0\r\n\r\n")
        assert stage.plane.counts.cut == 1


async def test_a_slow_reader_slows_the_replica_and_not_the_gateways_memory() -> None:
    async with staged() as stage:
        sent = 0
        total = 64 * 1024 * 1024

        async def firehose(seen: Seen, out: asyncio.StreamWriter) -> None:
            nonlocal sent
            out.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % total)
            while sent < total:
                out.write(b"x" * 65536)
                await out.drain()
                sent += 65536

        await stage.serving(firehose)
        caller = await stage.caller()
        caller.out.transport.pause_reading()  # type: ignore[attr-defined]
        caller.send(request("/model-m1/predict"))
        before = -1
        while before != sent or not sent:
            before = sent
            await asyncio.sleep(0.2)
        assert sent < total / 2
        caller.out.transport.resume_reading()  # type: ignore[attr-defined]
        got = await caller.got()
        assert len(got.body) == total


async def test_a_slow_replica_slows_the_caller() -> None:
    async with staged() as stage:
        go = asyncio.Event()

        async def raw(incoming: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
            head = await incoming.readuntil(b"\r\n\r\n")
            await go.wait()
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await incoming.readexactly(length)
            out.write(answer(b"%d" % length))

        await stage.serving_raw(raw)
        body = b"x" * (64 * 1024 * 1024)
        caller = await stage.caller()
        whole = request("/model-m1/predict", body)
        caller.send(whole)
        before, waiting = -1, len(whole)
        while before != waiting or waiting == len(whole):
            before = waiting
            await asyncio.sleep(0.2)
            waiting = caller.out.transport.get_write_buffer_size()
        assert waiting > len(whole) / 2
        go.set()
        assert (await caller.got()).body == b"%d" % len(body)


async def test_a_websocket_is_spliced_both_ways_until_one_side_ends() -> None:
    async with staged() as stage:
        ended = asyncio.Event()

        async def raw(incoming: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
            head = await incoming.readuntil(b"\r\n\r\n")
            assert b"GET /v1/websocket HTTP/1.1\r\n" in head
            assert b"connection: upgrade\r\nupgrade: websocket\r\n" in head
            assert b"sec-websocket-key: abc\r\n" in head
            out.write(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\r\nhello")
            while data := await incoming.read(100):
                out.write(data.upper())
            ended.set()

        await stage.serving_raw(raw)
        caller = await stage.caller()
        more = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: abc\r\n"
        caller.send(request("/model-m1/websocket", b"", method="GET", more=more) + b"early ")
        got = await caller.got()
        assert (got.status, got.headers["upgrade"]) == (101, "websocket")
        assert await caller.incoming.readexactly(11) == b"helloEARLY "
        caller.send(b"bytes")
        assert await caller.incoming.readexactly(5) == b"BYTES"
        assert sum(stage.plane.loads.in_flight.values()) == 1
        caller.out.close()
        await asyncio.wait_for(ended.wait(), 10)
        await until(lambda: not stage.plane.loads.in_flight)
        assert (await stage.ask("/model-m1/websocket", b"", method="GET")).status == 426
