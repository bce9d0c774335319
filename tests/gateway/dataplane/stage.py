"""What the data plane's tests stand on: a gateway on a real socket, and small scripted model servers on others.

The views are folds of real events. A scripted server speaks just enough HTTP/1.1 to be a replica, and records what it
was sent and when its callers left.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
import uvicorn
from uvicorn.server import ServerState

from events.access import KeyIssued
from events.base import (
    Actor,
    BlobDigest,
    CommandId,
    CorrelationId,
    DeploymentId,
    Event,
    EventId,
    KeyId,
    Metadata,
    ModelId,
    Position,
    PromotionId,
    ReplicaId,
    StreamName,
)
from events.codec import Recorded
from events.environment import PromotionCompleted
from events.model import DeploymentPushed, ModelRegistered
from events.replica import ReplicaDraining, ReplicaFailed, ReplicaReady
from events.signals import Signals
from events.signals.memory import MemorySignals
from gateway.circuit import CircuitSettings
from gateway.dataplane.front import http_protocol
from gateway.dataplane.plane import DataPlane, DataPlaneSettings
from gateway.keys import hash_of
from projections.access import ACCESS
from projections.routing import ROUTING
from projections.view import View

KEY = "k1.correct-horse-battery"
MODEL = ModelId("m1")
ONE, TWO = DeploymentId("d1"), DeploymentId("d2")


class Happenings:
    """A history that grows, and the views that follow it."""

    def __init__(self) -> None:
        self.routing, self.access = View(ROUTING), View(ACCESS)
        self._position = 0

    def add(self, *events: Any) -> None:
        batch = tuple(self._recorded(event) for event in events)
        for view in (self.routing, self.access):
            view.fold(batch)
        for view in (self.routing, self.access):
            view.announce()

    def _recorded(self, event: Event) -> Recorded:
        self._position += 1
        meta = Metadata(
            id=EventId(f"e{self._position}"),
            command_id=CommandId(f"c{self._position}"),
            correlation_id=CorrelationId("test"),
            causation_id=None,
            actor=Actor("operator", "test"),
            at=datetime.now(UTC),
        )
        return Recorded(Position(self._position), StreamName("any", "1"), event, meta)  # type: ignore[arg-type]


def registered(model: ModelId = MODEL, name: str = "iris") -> ModelRegistered:
    return ModelRegistered(model_id=model, name=name, team="default")


def pushed(
    deployment: DeploymentId, *, model: ModelId = MODEL, development: bool = False, concurrency: int = 1000
) -> DeploymentPushed:
    return DeploymentPushed(
        model_id=model,
        deployment_id=deployment,
        number=1,
        name="deployment-1",
        is_development=development,
        source=BlobDigest("sha256:0"),
        config=BlobDigest("sha256:1"),
        raw_config=None,
        environment=None,
        scale_down_previous=False,
        cpu_millicores=1000,
        memory_bytes=1,
        predict_concurrency=concurrency,
        deploy_timeout_s=60,
        labels="{}",
        client="{}",
    )


def promoted(deployment: DeploymentId, environment: str = "production") -> PromotionCompleted:
    return PromotionCompleted(
        promotion_id=PromotionId("p"),
        model_id=MODEL,
        environment=environment,
        deployment_id=deployment,
        previous=None,
        cleanup="KEEP",
    )


def issued(
    key: str = KEY,
    scopes: tuple[str, ...] = ("invoke",),
    models: tuple[ModelId, ...] = (),
    environments: tuple[str, ...] = (),
) -> KeyIssued:
    key_id = KeyId(key.partition(".")[0])
    return KeyIssued(
        key_id=key_id, name="test", hash=hash_of(key), scopes=scopes, models=models, environments=environments
    )


def ready(replica: str, address: str, deployment: DeploymentId = ONE) -> ReplicaReady:
    return ReplicaReady(replica_id=ReplicaId(replica), deployment_id=deployment, address=address, seconds=1.0)


def failed(replica: str, deployment: DeploymentId = ONE) -> ReplicaFailed:
    return ReplicaFailed(
        replica_id=ReplicaId(replica), deployment_id=deployment, stage="run", reason="killed", exit_code=137
    )


def draining(replica: str, deployment: DeploymentId = ONE) -> ReplicaDraining:
    return ReplicaDraining(replica_id=ReplicaId(replica), deployment_id=deployment, reason="scaled down")


class Seen(msgspec.Struct):
    """A request as a replica got it."""

    line: str
    headers: dict[str, str]
    body: bytes


Script = Callable[[Seen, asyncio.StreamWriter], Awaitable[None]]


def answer(body: bytes, status: str = "200 OK", more: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{more}\r\n".encode() + body


async def echo(seen: Seen, out: asyncio.StreamWriter) -> None:
    out.write(answer(seen.body))


class ScriptedReplica:
    def __init__(self, script: Script = echo) -> None:
        self.script = script
        self.seen: list[Seen] = []
        self.connections = 0
        self.arrived = asyncio.Condition()
        self.caller_left = asyncio.Event()
        self.writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.address = ""

    async def start(self) -> "ScriptedReplica":
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: asyncio.StreamReaderProtocol(_Incoming(), self._serve), "127.0.0.1", 0, backlog=2048
        )
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def kill(self) -> None:
        """As a crash: nothing listens any more, and open connections break."""
        assert self._server is not None
        self._server.close()
        for writer in tuple(self.writers):
            writer.transport.abort()

    async def seen_count(self, count: int) -> None:
        async with self.arrived:
            await self.arrived.wait_for(lambda: len(self.seen) >= count)

    async def _serve(self, incoming: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        assert isinstance(incoming, _Incoming)
        self.connections += 1
        self.writers.add(out)
        leaving = asyncio.ensure_future(incoming.ended.wait())
        try:
            while not out.is_closing():
                seen = await read_message(incoming)
                async with self.arrived:
                    self.seen.append(seen)
                    self.arrived.notify_all()
                answering = asyncio.ensure_future(self.script(seen, out))
                await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if not answering.done():
                    self.caller_left.set()
                    answering.cancel()
                    break
                await answering
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            leaving.cancel()
            self.writers.discard(out)
            out.close()


class _Incoming(asyncio.StreamReader):
    """Tells when the other side ends, also while nobody reads."""

    def __init__(self) -> None:
        super().__init__(limit=2**24)
        self.ended = asyncio.Event()

    def feed_eof(self) -> None:
        super().feed_eof()
        self.ended.set()

    def set_exception(self, exc: Exception) -> None:
        super().set_exception(exc)
        self.ended.set()


async def read_message(incoming: asyncio.StreamReader) -> Seen:
    head = (await incoming.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *fields = head[:-4].split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    if headers.get("transfer-encoding") == "chunked":
        return Seen(line, headers, await read_chunks(incoming))
    return Seen(line, headers, await incoming.readexactly(int(headers.get("content-length", "0"))))


async def read_chunks(incoming: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await incoming.readuntil(b"\r\n"), 16):
        body += (await incoming.readexactly(size + 2))[:-2]
    await incoming.readexactly(2)
    return body


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
