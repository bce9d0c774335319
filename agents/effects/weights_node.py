"""A node's part in the delivery of weights, put together: its cache, its fetches, its server for other nodes.

It looks through what it keeps, one file after the other and slowly, for bytes that the disk has changed.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import structlog

from agents.effects.weights_cache import KEEP_FREE_BYTES, WeightsCache
from agents.effects.weights_chunks import WeightsChunks
from agents.effects.weights_fetch import WeightsFetch
from agents.effects.weights_mount import NodeWeights
from agents.effects.weights_peer_client import PEER_PATIENCE, HttpPeers, PeerPatience
from agents.effects.weights_peer_server import PeerServer
from agents.effects.weights_peer_wire import Keyring
from agents.weights.fetch import Corrupt, WeightsLate
from events.base import NodeId
from handlers.clock import Clock
from projections.stores.objects import Objects

_log = structlog.get_logger()
_PORT_FILE = "port"


class WeightsSettings(msgspec.Struct, frozen=True, kw_only=True):
    folder: Path
    budget_bytes: int
    secret: bytes
    """Of the plane: nodes know each other by it."""
    host: str = "127.0.0.1"
    port: int = 0
    """0: the one of the last agent, or any."""
    keep_free_bytes: int = KEEP_FREE_BYTES
    verify_always: bool = False
    look_through_every_s: float = 600.0
    """One file of the cache each time."""
    patience: PeerPatience = PEER_PATIENCE


class WeightsOfNode(msgspec.Struct, frozen=True):
    replicas: NodeWeights
    fetch: WeightsFetch
    address: str
    """Where other nodes ask."""


@asynccontextmanager
async def serve_weights(
    settings: WeightsSettings,
    *,
    me: NodeId,
    mirror: Objects,
    nodes: Callable[[], Mapping[NodeId, str]],
    clock: Clock,
    on_corrupt: Callable[[Corrupt], None],
) -> AsyncIterator[WeightsOfNode]:
    """`nodes`: who serves weights now, and where; called from threads."""
    cache = WeightsCache(settings.folder, settings.budget_bytes, keep_free_bytes=settings.keep_free_bytes)
    await asyncio.to_thread(cache.open)
    keyring = Keyring(me, settings.secret)
    peers = HttpPeers(keyring, nodes, settings.patience)
    chunks = WeightsChunks(cache, me=me, mirror=mirror, peers=peers, clock=clock, on_corrupt=on_corrupt)
    fetch = WeightsFetch(chunks, me=me, mirror=mirror, verify_always=settings.verify_always)
    server = PeerServer(fetch, chunks, keyring, clock)
    port = await _listen(server, settings)
    looking = asyncio.create_task(_look_through(fetch, settings.look_through_every_s))
    try:
        yield WeightsOfNode(NodeWeights(fetch), fetch, f"{settings.host}:{port}")
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        await server.close()
        await fetch.close()
        peers.close()


async def _listen(server: PeerServer, settings: WeightsSettings) -> int:
    """An address that stays is one change less that the fleet must hear of."""
    file = settings.folder / _PORT_FILE
    wanted = settings.port or _kept_port(file)
    try:
        port = await server.start(settings.host, wanted)
    except OSError:
        if settings.port:
            raise
        port = await server.start(settings.host, 0)
    file.write_text(str(port))
    return port


def _kept_port(file: Path) -> int:
    try:
        return int(file.read_text())
    except (FileNotFoundError, ValueError):
        return 0


async def _look_through(fetch: WeightsFetch, every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        content = fetch.cache.longest_unchecked()
        if content is None:
            continue
        try:
            await fetch.verify(content)
        except (WeightsLate, OSError) as error:
            _log.warning("a file of weights could not be mended yet", content=content, why=str(error))
