"""A capsule's dashboard, served to this machine only for as long as the capsule is open."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from events.base import ORIGIN
from gateway.dashboard.history_app import history_app
from gateway.dashboard.moment import World
from gateway.dashboard.sources import Sources
from ops.capsule.file import Capsule, past_in
from ops.replay import states_at
from projections.audit import audit_row
from projections.deployments import DEPLOYMENTS
from projections.environments import ENVIRONMENTS
from projections.fleet import FLEET
from projections.stores.audit import MemoryAuditStore

READY_WITHIN_S = 60.0


class NotServed(OSError):
    """The port is not to be had, or the server did not begin."""


@contextmanager
def served(file: Path, capsule: Capsule, port: int = 0) -> Iterator[str]:
    """Gives the address of its pages. `port`: 0 for a free one. Raises NotServed."""
    app = history_app(asyncio.run(sources_of(file, capsule)))
    try:
        listening = socket.create_server(("127.0.0.1", port))
    except OSError as taken:
        raise NotServed(f"port {port} of this machine cannot be listened on: {taken.strerror}") from taken
    config = uvicorn.Config(app, lifespan="off", ws="none", log_config=None, access_log=False)
    server = _Server(config)
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    try:
        if not server.is_ready.wait(READY_WITHIN_S):
            raise NotServed(f"the dashboard did not begin within {READY_WITHIN_S:g} s")
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/dashboard"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_ready.set()


async def sources_of(file: Path, capsule: Capsule) -> Sources:
    past, manifest = past_in(capsule), capsule.manifest
    world = World(*await states_at(past, (DEPLOYMENTS, ENVIRONMENTS, FLEET), manifest.end))
    rows = MemoryAuditStore()
    await rows.append([audit_row(each) for each in capsule.events], ORIGIN)
    return Sources(
        now=lambda: manifest.end_at or manifest.made_at,
        catch_up=_nothing_new,
        world=lambda: world,
        head=lambda: manifest.end,
        past=lambda projections, position: states_at(past, projections, position),
        read=past.read,
        audit=rows,
        beginning=manifest.begin,
        source=file.name,
    )


async def _nothing_new() -> None:
    """What has ended has been read whole."""
