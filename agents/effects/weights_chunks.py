"""A chunk from where it is nearest: this node's disk, the nodes that own it, the mirror.

One flight a chunk, however many files, replicas and peers ask. Whatever answers, bytes count only when their hash is
right; who sent others is reported, left alone for a while, and the next is asked. Memory is bounded: a few pieces in
flight, whatever the size. A peer is answered from the disk or the mirror only, so no two nodes wait for each other.
"""

import asyncio
import errno
import os
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import structlog

from agents.effects.weights_cache import Place, WeightsCache
from agents.effects.weights_region import Region, TooLong, is_there
from agents.weights.fetch import Corrupt, Tier, WeightsLate, pause_s
from agents.weights.manifest import Chunk, chunk_key
from agents.weights.owners import Standing, asked, owners, served, struck
from events.base import NodeId
from events.weights import ChunkHash
from handlers.clock import Clock
from projections.stores.objects import FolderObjects, ObjectMissing, Objects, StoreUnavailable

_log = structlog.get_logger()
_T = TypeVar("_T")
PARALLEL = 8
"""Chunks in flight for this node's own replicas."""
FOR_PEERS = 4
"""Chunks in flight for other nodes."""
RANGE_BYTES = 4 << 20
MIRROR_TRIES = 3
MIRROR = "mirror"


class PeerFailed(Exception):
    """A peer was slow, dead or no peer."""


class PeerLacks(PeerFailed):
    """It is well, but has not got the chunk, nor room for it."""


class Peers(Protocol):
    """How other nodes are reached."""

    def nodes(self) -> Mapping[NodeId, str]:
        """Those that serve weights now, and their addresses; this one among them."""
        ...

    def read(self, node: NodeId, region: Region) -> None:
        """Writes the region, from its first byte. Blocks: for a thread. Raises PeerFailed, TooLong, OSError."""
        ...

    def abort(self, region: Region) -> None:
        """Makes a `read` that is under way fail at once. From any thread."""
        ...

    def doubt(self, node: NodeId, chunk: Chunk) -> None:
        """Tells a node that what it answered was wrong. Blocks: for a thread; never raises."""
        ...


class WeightsChunks:
    def __init__(
        self,
        cache: WeightsCache,
        *,
        me: NodeId,
        mirror: Objects,
        peers: Peers,
        clock: Clock,
        on_corrupt: Callable[[Corrupt], None],
    ) -> None:
        self.cache = cache
        self._me, self._mirror, self._peers, self._clock = me, mirror, peers, clock
        self._on_corrupt = on_corrupt
        self._standing: Standing = {}
        self._chunks: dict[ChunkHash, asyncio.Task[Tier]] = {}
        self._asking_peers: set[ChunkHash] = set()
        self._for_peers = asyncio.Semaphore(FOR_PEERS)
        self._threads = ThreadPoolExecutor(PARALLEL + FOR_PEERS, "weights")

    async def close(self) -> None:
        flights = tuple(self._chunks.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def fill(self, region: Region, place: Place) -> Tier:
        """Raises WeightsLate."""
        chunk = region.chunk
        while True:
            if await self._copied(region, place):
                self.cache.add_place(chunk.hash, place)
                return "node"
            if (flight := self._chunks.get(chunk.hash)) is None:
                tier = await self._fly(chunk, self._get(region))
                self.cache.add_place(chunk.hash, place)
                return tier
            await landed(flight)

    async def _copied(self, region: Region, place: Place) -> bool:
        """From what another file, or a chunk by itself, has of it on this disk."""
        chunk = region.chunk.hash
        while (known := self.cache.place(chunk)) is not None and known != place:
            try:
                if await self.in_thread(region.copy, self.cache.root / known.key, known.offset):
                    return True
            except FileNotFoundError:
                self.cache.drop_place(chunk, known)  # Evicted, or become a file, meanwhile.
                continue
            except OSError as error:
                raise late(error) from error
            self.cache.drop_place(chunk, known)
            self.report(Corrupt(chunk, "node", self._me))
            if known.key.startswith("chunks/"):
                self.cache.evict(known.key)
            elif known.key.startswith("files/"):
                self.cache.unmark(known.key.removeprefix("files/"))
        return False

    async def for_peer(self, chunk: Chunk) -> Place:
        """Where it is on this disk, fetched from the mirror if need be. Raises WeightsLate."""
        while (known := self.cache.place(chunk.hash)) is None:
            if chunk.hash in self._asking_peers:
                raise WeightsLate("mirror", "this node asks others for it itself")
            flight = self._chunks.get(chunk.hash)
            if flight is None:
                async with self._for_peers:
                    if chunk.hash not in self._chunks:
                        await self._fly(chunk, self._keep_alone(chunk))
            else:
                await landed(flight)
        return known

    async def _keep_alone(self, chunk: Chunk) -> Tier:
        key = f"chunks/{chunk.hash}"
        path = self.cache.root / key
        aside = path.with_name(f"{path.name}.aside")
        await self.cache.reserve(key, chunk.size)
        try:
            with aside.open("wb", buffering=0) as file:
                await self._from_mirror(Region(file.fileno(), 0, chunk))
            aside.replace(path)
            self.cache.add_place(chunk.hash, Place(key, 0))
        except BaseException as error:
            aside.unlink(missing_ok=True)
            self.cache.evict(key)
            if isinstance(error, OSError):
                raise late(error) from error
            raise
        finally:
            self.cache.release(key)
        return "mirror"

    async def _fly(self, chunk: Chunk, work: Coroutine[None, None, Tier]) -> Tier:
        """The only one that fetches this chunk. Cancelling ends it, and returns when nothing of it runs any more."""
        task = self._chunks[chunk.hash] = asyncio.create_task(work)
        task.add_done_callback(lambda _: self._chunks.pop(chunk.hash))
        return await task

    async def _get(self, region: Region) -> Tier:
        chunk = region.chunk
        nodes = self._peers.nodes().keys()
        first = asked(chunk, self._me, nodes, self._standing, self._clock.now())
        if await self._from_any(first, region):
            return "peer"
        try:
            await self._from_mirror(region)
        except WeightsLate as error:
            # Whoever owned it before the fleet changed may still have it.
            others = [node for node in owners(chunk.hash, nodes, len(nodes)) if node not in (*first, self._me)]
            if error.lack == "room" or not await self._from_any(others, region):
                raise
            return "peer"
        return "mirror"

    async def _from_any(self, nodes: Sequence[NodeId], region: Region) -> bool:
        self._asking_peers.add(region.chunk.hash)
        try:
            for node in nodes:
                if await self._from_peer(node, region):
                    return True
            return False
        finally:
            self._asking_peers.discard(region.chunk.hash)

    async def _from_peer(self, node: NodeId, region: Region) -> bool:
        region.begin()
        chunk = region.chunk
        try:
            await self.in_thread(self._peers.read, node, region, give_up=partial(self._peers.abort, region))
            if region.is_right():
                self._standing = served(self._standing, node)
                return True
            wrong = f"{region.length} bytes that are not the chunk"
        except TooLong as error:
            wrong = str(error)
        except PeerLacks as error:
            _log.info("a peer cannot give a chunk, others are asked", peer=node, why=str(error))
            return False
        except PeerFailed as error:
            self._strike(node, str(error))
            return False
        except OSError as error:
            raise late(error) from error
        self.report(Corrupt(chunk.hash, "peer", node))
        self._strike(node, wrong)
        await self.in_thread(self._peers.doubt, node, chunk)
        return False

    def _strike(self, node: NodeId, why: str) -> None:
        self._standing = struck(self._standing, node, self._clock.now())
        _log.warning("a peer failed, others are asked", peer=node, why=why)

    async def _from_mirror(self, region: Region) -> None:
        why = WeightsLate("mirror", "")
        for failures in range(1, MIRROR_TRIES + 1):
            try:
                await self._read_mirror(region)
                if region.is_right():
                    return
                self.report(Corrupt(region.chunk.hash, "mirror", MIRROR))
                why = WeightsLate("corrupt", f"the mirror has other bytes under chunk {region.chunk.hash}")
            except TooLong as error:
                self.report(Corrupt(region.chunk.hash, "mirror", MIRROR))
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
            await self.in_thread(_copy_object, self._mirror.path(chunk_key(chunk.hash)), region)
            return
        for start in range(0, chunk.size, RANGE_BYTES):
            length = min(RANGE_BYTES, chunk.size - start)
            piece = await self._mirror.read(chunk_key(chunk.hash), start, length)
            await self.in_thread(region.write, piece)

    def report(self, corrupt: Corrupt) -> None:
        _log.error("weights are corrupt", chunk=corrupt.chunk, tier=corrupt.tier, source=corrupt.source)
        self._on_corrupt(corrupt)

    async def in_thread(
        self, work: Callable[..., _T], *arguments: object, give_up: Callable[[], None] = lambda: None
    ) -> _T:
        """A thread cannot be cancelled: it is waited for, since what it writes to is closed afterwards."""
        running = asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            give_up()
            await asyncio.wait({running})
            raise


def _copy_object(path: Path, region: Region) -> None:
    """Straight from a mirror on this machine."""
    try:
        region.copy(path, 0)
    except FileNotFoundError:
        raise ObjectMissing(f"no object {path.name}") from None


def is_in_file(path: Path, offset: int, chunk: Chunk) -> bool:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return is_there(handle, offset, chunk)
    finally:
        os.close(handle)


def first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """What went wrong, where several went wrong at once."""
    error = errors.exceptions[0]
    return first(error) if isinstance(error, BaseExceptionGroup) else error


async def landed(flight: asyncio.Task[Tier]) -> None:
    """Somebody else's: its failure is ours, its cancellation is not."""
    await asyncio.wait({flight})
    if not flight.cancelled() and (error := flight.exception()) is not None:
        raise error


def late(error: OSError) -> WeightsLate:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return WeightsLate("room", f"the node's disk is full: {error}")
    return WeightsLate("room", f"the node's weights cache cannot be written: {error}")
