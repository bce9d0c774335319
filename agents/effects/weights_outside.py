"""Chunks from outside this node: of the nodes that own them, then of the mirror.

Whatever answers, bytes count only when their hash is right; who sent others is reported, left alone for a while, and
the next is asked. Chunks come in runs, so that what an answer costs by itself is paid once for several.
"""

import asyncio
import errno
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Protocol

import structlog

from agents.effects.weights_region import Region, WrongLength
from agents.effects.weights_threads import Threads
from agents.weights.fetch import Corrupt, Tier, WeightsLate, pause_s
from agents.weights.manifest import Chunk, chunk_key
from agents.weights.owners import Standing, asked, owners, served, struck
from events.base import NodeId
from events.weights import ChunkHash
from handlers.clock import Clock
from projections.stores.objects import FolderObjects, ObjectMissing, Objects, StoreUnavailable

_log = structlog.get_logger()
RANGE_BYTES = 4 << 20
MIRROR_TRIES = 3
MIRROR = "mirror"
Asked = Mapping[Region, Sequence[NodeId]]
"""Whom to ask for each; nobody: the mirror."""
Arrived = Callable[[Region, Tier], None]
"""Told of each chunk that is right, as soon as it is."""


class PeerFailed(Exception):
    """A peer was slow, dead or no peer."""


class PeerLacks(PeerFailed):
    """It is well, but has not got the chunk, nor room for it."""


class Peers(Protocol):
    """How other nodes are reached."""

    def nodes(self) -> Mapping[NodeId, str]:
        """Those that serve weights now, and their addresses; this one among them."""
        ...

    def read(self, node: NodeId, regions: Sequence[Region]) -> int:
        """Writes the first, and those behind it that come with it; says how many. Blocks: for a thread.

        Raises PeerFailed, WrongLength, OSError; what was written by then counts where it is right.
        """
        ...

    def abort(self, regions: Sequence[Region]) -> None:
        """Makes a `read` that is under way fail at once. From any thread."""
        ...

    def doubt(self, node: NodeId, chunk: Chunk) -> None:
        """Tells a node that what it answered was wrong. Blocks: for a thread; never raises."""
        ...


class Outside:
    def __init__(
        self,
        threads: Threads,
        *,
        me: NodeId,
        mirror: Objects,
        peers: Peers,
        clock: Clock,
        report: Callable[[Corrupt], None],
    ) -> None:
        self._threads, self._me, self._mirror, self._peers, self._clock = threads, me, mirror, peers, clock
        self._report = report
        self._standing: Standing = {}
        self.asked_of_peers: set[ChunkHash] = set()
        """So nobody is answered with them: no two nodes wait for each other."""

    def whom_to_ask(self, regions: Sequence[Region]) -> Asked:
        """From now on no peer that asks for one is kept waiting; whoever called this takes them out in the end."""
        nodes, now = self._peers.nodes().keys(), self._clock.now()
        whom = {region: asked(region.chunk, self._me, nodes, self._standing, now) for region in regions}
        self.asked_of_peers |= {region.chunk.hash for region in regions if whom[region]}
        return whom

    async def get(self, whom: Asked, arrived: Arrived) -> None:
        """Those of the mirror first: peers wait for them. Raises WeightsLate."""
        await self._from_mirror_all([region for region, nodes in whom.items() if not nodes], whom, arrived)
        await self._from_peers({region: nodes for region, nodes in whom.items() if nodes}, arrived)
        await self._from_mirror_all([region for region in whom if not region.is_right()], whom, arrived)

    async def _from_mirror_all(self, regions: Sequence[Region], whom: Asked, arrived: Arrived) -> None:
        if isinstance(self._mirror, FolderObjects):
            regions = await self._from_folder(self._mirror, regions, arrived)
        failed: dict[Region, WeightsLate] = {}
        for number, region in enumerate(regions):
            try:
                await self.from_mirror(region)
                arrived(region, "mirror")
            except WeightsLate as error:
                if error.lack == "room":
                    raise
                failed[region] = error
                if error.lack == "mirror":
                    failed.update(dict.fromkeys(regions[number:], error))  # It is away for them too.
                    break
        await self._from_peers({region: self._others(region, whom[region]) for region in failed}, arrived)
        for region, why in failed.items():
            if not region.is_right():
                raise why

    def _others(self, region: Region, but: Sequence[NodeId]) -> list[NodeId]:
        """Whoever owned it before the fleet changed may still have it."""
        nodes = self._peers.nodes().keys()
        return [node for node in owners(region.chunk.hash, nodes, len(nodes)) if node not in (*but, self._me)]

    async def _from_peers(self, asked: Mapping[Region, Sequence[NodeId]], arrived: Arrived) -> None:
        """Each from the first of its nodes that gives it; what none gives stays wrong."""
        chunks = {region.chunk.hash for region in asked}
        self.asked_of_peers |= chunks
        try:
            for turn in range(max(map(len, asked.values()), default=0)):
                by_node: dict[NodeId, list[Region]] = {}
                for region, nodes in asked.items():
                    if turn < len(nodes) and not region.is_right():
                        by_node.setdefault(nodes[turn], []).append(region)
                for node, regions in by_node.items():
                    await self._from_peer(node, regions, arrived)
        finally:
            self.asked_of_peers -= chunks

    async def _from_peer(self, node: NodeId, regions: Sequence[Region], arrived: Arrived) -> None:
        while regions:
            why, given = "", 1
            try:
                read, abort = self._peers.read, partial(self._peers.abort, regions)
                given = await self._threads.run(read, node, regions, give_up=abort)
            except WrongLength as error:
                why = str(error)
            except PeerLacks as error:
                _log.info("a peer cannot give a chunk, others are asked", peer=node, why=str(error))
                regions = regions[1:]
                continue
            except PeerFailed as error:
                for region in regions:
                    if region.is_right():
                        arrived(region, "peer")
                self._strike(node, str(error))
                return
            except OSError as error:
                raise late(error) from error
            for region in regions[:given]:
                if region.is_right():
                    arrived(region, "peer")
                else:
                    await self._lied(node, region, why or f"{region.length} bytes that are not the chunk")
            if not all(region.is_right() for region in regions[:given]):
                return
            self._standing = served(self._standing, node)
            regions = regions[given:]

    async def _lied(self, node: NodeId, region: Region, what: str) -> None:
        self._report(Corrupt(region.chunk.hash, "peer", node))
        self._strike(node, what)
        await self._threads.run(self._peers.doubt, node, region.chunk)

    def _strike(self, node: NodeId, why: str) -> None:
        self._standing = struck(self._standing, node, self._clock.now())
        _log.warning("a peer failed, others are asked", peer=node, why=why)

    async def _from_folder(self, mirror: FolderObjects, regions: Sequence[Region], arrived: Arrived) -> list[Region]:
        """In one go; what is wrong then is read once more like any other."""
        lacking = []
        await self._threads.run(_copy_objects, mirror, regions)
        for region in regions:
            if region.is_right():
                arrived(region, "mirror")
                continue
            if region.length:
                self._report(Corrupt(region.chunk.hash, "mirror", MIRROR))
            lacking.append(region)
        return lacking

    async def from_mirror(self, region: Region) -> None:
        why = WeightsLate("mirror", "")
        for failures in range(1, MIRROR_TRIES + 1):
            try:
                await self._read_mirror(region)
                if region.is_right():
                    return
                self._report(Corrupt(region.chunk.hash, "mirror", MIRROR))
                why = WeightsLate("corrupt", f"the mirror has other bytes under chunk {region.chunk.hash}")
            except WrongLength as error:
                self._report(Corrupt(region.chunk.hash, "mirror", MIRROR))
                why = WeightsLate("corrupt", f"the mirror has {error}")
            except ObjectMissing as error:
                raise WeightsLate("corrupt", f"the mirror lacks a chunk: {error}") from error
            except StoreUnavailable as error:
                why = WeightsLate("mirror", f"the mirror cannot be read: {error}")
            except OSError as error:
                raise late(error) from error
            if failures < MIRROR_TRIES:
                await asyncio.sleep(pause_s(failures))
        raise why

    async def _read_mirror(self, region: Region) -> None:
        region.begin()
        chunk = region.chunk
        if isinstance(self._mirror, FolderObjects):
            await self._threads.run(_copy_object, self._mirror.path(chunk_key(chunk.hash)), region)
            return
        for start in range(0, chunk.size, RANGE_BYTES):
            length = min(RANGE_BYTES, chunk.size - start)
            piece = await self._mirror.read(chunk_key(chunk.hash), start, length)
            await self._threads.run(region.write, piece)


def _copy_object(path: Path, region: Region) -> None:
    """Straight from a mirror on this machine."""
    try:
        region.copy(path, 0)
    except FileNotFoundError:
        raise ObjectMissing(f"no object {path.name}") from None


def _copy_objects(mirror: FolderObjects, regions: Sequence[Region]) -> None:
    """As far as that works."""
    for region in regions:
        with suppress(OSError):  # It is met again, and told, by who reads one by one.
            region.copy(mirror.path(chunk_key(region.chunk.hash)), 0)


def late(error: OSError) -> WeightsLate:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return WeightsLate("room", f"the node's disk is full: {error}")
    return WeightsLate("room", f"the node's weights cache cannot be written: {error}")
