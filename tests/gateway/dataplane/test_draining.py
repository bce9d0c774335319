"""A gateway that is being replaced: everything that has begun ends well, and every connection is told to close."""

import asyncio

from tests.gateway.dataplane.happened import ready
from tests.gateway.dataplane.replicas import Seen
from tests.gateway.dataplane.stage import request, staged, until


async def test_an_idle_connection_is_served_once_more_and_told_to_close() -> None:
    async with staged() as stage:
        await stage.serving()
        caller = await stage.caller()
        caller.send(request("/model-m1/predict", b"one"))
        assert "connection" not in (await caller.got()).headers
        stage.plane.draining = True
        await asyncio.sleep(0.05)
        caller.send(request("/model-m1/predict", b"two"))
        got = await caller.got()
        assert (got.status, got.body, got.headers["connection"]) == (200, b"two", "close")
        assert await caller.ended() == b""


async def test_a_call_whose_answer_had_begun_ends_and_the_next_on_its_connection_is_served() -> None:
    async with staged() as stage:
        goes_on = asyncio.Event()

        async def slow(seen: Seen, out: asyncio.StreamWriter) -> None:
            out.write(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\na")
            await goes_on.wait()
            out.write(b"bc")

        replica = await stage.serving(slow)
        caller = await stage.caller()
        caller.send(request("/model-m1/predict"))
        await replica.seen_count(1)
        head = await caller.got(head_only=True)
        assert "connection" not in head.headers
        stage.plane.draining = True
        goes_on.set()
        assert await caller.incoming.readexactly(3) == b"abc"
        caller.send(request("/model-m1/predict"))
        assert (await caller.got()).headers["connection"] == "close"


async def test_a_call_that_waits_for_its_replica_waits_on() -> None:
    async with staged() as stage:
        replica = await stage.replica()
        caller = await stage.caller()
        caller.send(request("/model-m1/predict", b"patient"))
        await until(lambda: stage.plane.parking.count == 1)
        stage.plane.draining = True
        stage.happenings.add(ready("r1", replica.address))
        got = await caller.got()
        assert (got.status, got.body, got.headers["connection"]) == (200, b"patient", "close")


async def test_the_control_app_tells_to_close_too() -> None:
    async with staged() as stage:
        caller = await stage.caller()
        caller.send(request("/v1/models", b"12"))
        assert (await caller.got()).headers.get("connection") is None
        stage.plane.draining = True
        caller.send(request("/v1/models", b"12"))
        got = await caller.got()
        assert (got.body, got.headers["connection"]) == (b"control POST /v1/models 2", "close")
        assert await caller.ended() == b""


async def test_an_answer_that_is_refused_says_so_too() -> None:
    async with staged() as stage:
        stage.plane.draining = True
        assert (await stage.ask("/model-nobody/predict")).headers["connection"] == "close"
