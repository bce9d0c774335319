"""The app on a real port, behind the data plane as in the gateway, for clients that are programs of their own."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn

from events.signals.memory import MemorySignals
from gateway.dataplane.front import http_protocol
from gateway.dataplane.plane import DataPlane
from gateway.dataplane.settings import DataPlaneSettings
from projections.routing import ROUTING
from projections.view import View
from tests.gateway.control.stand import Stand


def data_plane(stand: Stand) -> DataPlane:
    return DataPlane(
        View(ROUTING),
        stand.views.access,
        MemorySignals(),
        DataPlaneSettings(domain="localhost"),
        worker="gateway-test",
        stale_since=lambda: None,
        status_of=lambda deployment_id: None,
    )


@asynccontextmanager
async def served(state: Path) -> AsyncIterator[tuple[Stand, str]]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with Stand(state, url).running() as stand:
            config = uvicorn.Config(
                stand.app, http=http_protocol(data_plane(stand)), ws="none", lifespan="off", log_level="error"
            )
            server = uvicorn.Server(config)
            # Its signal handlers would be the test run's.
            server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            try:
                yield stand, url
            finally:
                server.should_exit = True
                await serving


BARE = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}


async def program(
    *argv: str, stdin: bytes = b"", environ: Mapping[str, str] = BARE, deadline_s: float = 90
) -> tuple[int, str, str]:
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe, stderr=pipe, env=environ)
    try:
        async with asyncio.timeout(deadline_s):
            out, err = await child.communicate(stdin)
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    assert child.returncode is not None
    return child.returncode, out.decode(), err.decode()
