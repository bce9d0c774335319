"""A capsule's dashboard, served to this machine only for as long as the capsule is open."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn

from events.base import ORIGIN, Position
from gateway.dashboard.history_app import history_app
from gateway.dashboard.moment import World
from gateway.dashboard.sources import Refusal, Sources
from ops.capsule.file import Capsule, past_in
from ops.past import NoSuchPosition, Past
from ops.replay import states_at
from projections.audit import audit_row
from projections.base import Projection
from projections.deployments import DEPLOYMENTS
from projections.environments import ENVIRONMENTS
from projections.fleet import FLEET
from projections.stores.audit import MemoryAuditStore
from projections.weights import WEIGHTS, Weights

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
        weights=await _weights(past, manifest.end),
        head=lambda: manifest.end,
        past=partial(_states_at, past),
        read=past.read,
        audit=rows,
        beginning=manifest.begin,
        source=file.name,
    )


async def _states_at(past: Past, projections: Sequence[Projection[Any]], position: Position) -> tuple[Any, ...]:
    """Raises Refusal where an older version made the file, without what is asked for."""
    try:
        return await states_at(past, projections, position)
    except NoSuchPosition as unknown:
        raise Refusal(404, str(unknown)) from unknown


async def _weights(past: Past, end: Position) -> Callable[[], Weights]:
    try:
        (known,) = await states_at(past, (WEIGHTS,), end)
    except NoSuchPosition as unknown:
        why = str(unknown)
    else:
        weights: Weights = known
        return lambda: weights

    def refuse() -> Weights:
        raise Refusal(404, why)

    return refuse


async def _nothing_new() -> None:
    """What has ended has been read whole."""
