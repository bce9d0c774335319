"""What the data plane's tests stand on: a gateway on a real socket, its callers, and replicas on other sockets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import uvicorn
from uvicorn.server import ServerState

from events.signals import Signals
from events.signals.memory import MemorySignals
from gateway.circuit import CircuitSettings
from gateway.dataplane.front import http_protocol
from gateway.dataplane.plane import DataPlane
from gateway.dataplane.settings import DataPlaneSettings
from tests.gateway.dataplane.happened import KEY, ONE, Happenings, issued, promoted, pushed, ready, registered
from tests.gateway.dataplane.replicas import Script, ScriptedReplica, echo, read_chunks


class Got(msgspec.Struct):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> str:
        return str(msgspec.json.decode(self.body)["error"])


class Caller:
    """A raw client connection."""

    def __init__(self, incoming: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        self.incoming, self.out = incoming, out

    def send(self, raw: bytes) -> None:
        self.out.write(raw)

    async def got(self, *, head_only: bool = False) -> Got:
        head = (await self.incoming.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *fields = head[:-4].split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        assert len(headers) == len(fields), f"a header twice in {fields}"
        status, body = int(line.split()[1]), b""
        if head_only or status < 200 or status in (204, 304):
            pass
        elif headers.get("transfer-encoding") == "chunked":
            body = await read_chunks(self.incoming)
        elif "content-length" in headers:
            body = await self.incoming.readexactly(int(headers["content-length"]))
        else:
            body = await self.incoming.read()
        return Got(status, headers, body)

    async def ended(self) -> bytes:
        """Whatever comes until the gateway closes."""
        return await self.incoming.read()

    def leave(self) -> None:
        self.out.transport.abort()


def request(path: str, body: bytes = b"{}", *, method: str = "POST", key: str | None = KEY, more: str = "") -> bytes:
    authorization = f"authorization: Api-Key {key}\r\n" if key else ""
    head = f"{method} {path} HTTP/1.1\r\nhost: gateway\r\n{authorization}{more}"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


class Stage:
    def __init__(self, plane: DataPlane, happenings: Happenings, signals: Signals, port: int) -> None:
        self.plane, self.happenings, self.signals, self.port = plane, happenings, signals, port
        self.callers: list[Caller] = []
        self.replicas: list[ScriptedReplica] = []
        self.raw_servers: list[asyncio.Server] = []

    async def replica(self, script: Script = echo) -> ScriptedReplica:
        replica = await ScriptedReplica(script).start()
        self.replicas.append(replica)
        return replica

    async def serving(self, script: Script = echo, name: str = "r1") -> ScriptedReplica:
        """A replica that is ready at once."""
        replica = await self.replica(script)
        self.happenings.add(ready(name, replica.address))
        return replica

    async def serving_raw(
        self, handler: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
    ) -> None:
        """A ready replica that is nothing but this handler of one connection."""

        async def handle(incoming: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
            try:
                await handler(incoming, out)
                await out.drain()
            finally:
                out.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        self.raw_servers.append(server)
        self.happenings.add(ready("r1", f"127.0.0.1:{server.sockets[0].getsockname()[1]}"))

    async def caller(self) -> Caller:
        caller = Caller(*await asyncio.open_connection("127.0.0.1", self.port, limit=2**24))
        self.callers.append(caller)
        return caller

    async def ask(self, path: str, body: bytes = b"{}", **more: Any) -> Got:
        caller = await self.caller()
        caller.send(request(path, body, **more))
        return await caller.got()


async def control_app(scope: Any, receive: Any, send: Any) -> None:
    """Stands for the control API: answers every path with it; `/early` without reading the body."""
    body = b""
    while scope["path"] != "/early":
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    said = f"control {scope['method']} {scope['path']} {len(body)}".encode()
    headers = [(b"content-length", b"%d" % len(said))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": said})


CIRCUIT = CircuitSettings(avoid_s=0.1, rest_s=0.1)
QUICK = DataPlaneSettings(retry_delay_s=0.02, retry_delay_cap_s=0.1, circuit=CIRCUIT, load_every_s=0.05)


def but(**changes: float) -> DataPlaneSettings:
    return msgspec.structs.replace(QUICK, **changes)


@asynccontextmanager
async def staged(
    settings: DataPlaneSettings = QUICK,
    stale_since: Callable[[], float | None] = lambda: None,
    *,
    concurrency: int = 1000,
    signals: Signals | None = None,
    worker: str = "w1",
) -> AsyncIterator[Stage]:
    """Model m1 with deployment d1 in production, no replica yet. With the same `signals`: workers of one plane."""
    happenings, signals = Happenings(), signals or MemorySignals()
    happenings.add(issued(), registered(), pushed(ONE, concurrency=concurrency), promoted(ONE))
    plane = DataPlane(
        happenings.routing,
        happenings.access,
        signals,
        settings,
        worker=worker,
        stale_since=stale_since,
        status_of=lambda deployment: "LOADING_MODEL",
    )
    config = uvicorn.Config(control_app, http=http_protocol(plane), ws="none", lifespan="off", log_config=None)
    config.load()
    state = ServerState()
    protocol: Any = config.http_protocol_class
    server = await asyncio.get_running_loop().create_server(
        lambda: protocol(config=config, server_state=state, app_state={}), "127.0.0.1", 0, backlog=2048
    )
    stage = Stage(plane, happenings, signals, server.sockets[0].getsockname()[1])
    try:
        yield stage
    finally:
        for caller in stage.callers:
            caller.leave()
        server.close()
        for raw in stage.raw_servers:
            raw.close()
        for replica in stage.replicas:
            await replica.kill()
        await plane.close()
        async with asyncio.timeout(10):
            while state.connections:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
    assert not plane.loads.in_flight
    assert not plane.parking.count and not plane.parking.bytes
    assert not plane.resting


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
