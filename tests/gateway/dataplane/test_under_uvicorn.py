"""The data plane as the gateway role runs it: under uvicorn's server, beside a FastAPI app, to a graceful end."""

import asyncio
import socket

import uvicorn
from fastapi import FastAPI

from events.signals.memory import MemorySignals
from gateway.dataplane.front import http_protocol
from gateway.dataplane.plane import DataPlane
from tests.gateway.dataplane.happened import ONE, TWO, Happenings, issued, promoted, pushed, ready, registered
from tests.gateway.dataplane.replicas import ScriptedReplica, Seen, answer
from tests.gateway.dataplane.stage import QUICK, Caller, request, until


async def test_uvicorn_serves_both_planes_and_stops_without_cutting_a_call() -> None:
    app = FastAPI()

    @app.get("/healthz")
    async def healthz() -> dict[str, bool]:
        return {"ok": True}

    go = asyncio.Event()

    async def slow(seen: Seen, out: asyncio.StreamWriter) -> None:
        await go.wait()
        out.write(answer(b"finished"))

    replica = await ScriptedReplica(slow).start()
    happenings = Happenings()
    happenings.add(issued(), registered(), pushed(ONE), promoted(ONE), pushed(TWO), ready("r1", replica.address))
    plane = DataPlane(
        happenings.routing,
        happenings.access,
        MemorySignals(),
        QUICK,
        worker="w1",
        stale_since=lambda: None,
        status_of=lambda deployment: None,
    )
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    config = uvicorn.Config(app, http=http_protocol(plane), log_config=None, timeout_graceful_shutdown=30)
    server = uvicorn.Server(config)
    serving = asyncio.ensure_future(server.serve(sockets=[listening]))
    callers = [Caller(*await asyncio.open_connection("127.0.0.1", port)) for _ in range(4)]
    running, parked, idle, control = callers
    running.send(request("/model-m1/predict"))
    parked.send(request("/model-m1/deployment/d2/predict"))
    await until(lambda: len(replica.seen) == 1 and plane.parking.count == 1)
    control.send(b"GET /healthz HTTP/1.1\r\nhost: g\r\n\r\n")
    assert (await control.got()).body == b'{"ok":true}'

    server.should_exit = True
    got = await parked.got()
    assert (got.status, got.headers["retry-after"]) == (503, "1")
    assert await idle.ended() == b""
    assert await control.ended() == b""
    assert not serving.done()
    go.set()
    got = await running.got()
    assert (got.body, got.headers["connection"]) == (b"finished", "close")
    await asyncio.wait_for(serving, 20)
    await plane.close()
    await replica.kill()
    for caller in callers:
        caller.leave()
