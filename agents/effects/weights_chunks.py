"""A chunk from where it is nearest: this node's disk, the nodes that own it, the mirror.

One flight a chunk, however many files, replicas and peers ask. Memory is bounded: a few pieces in flight, whatever the
size. A peer is answered from the disk or the mirror only, so no two nodes wait for each other.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterable, Sequence
from pathlib import Path

import structlog

from agents.effects.weights_cache import Place, WeightsCache
from agents.effects.weights_outside import Outside, Peers, late
from agents.effects.weights_region import Region, is_there
from agents.effects.weights_threads import Threads
from agents.weights.fetch import Corrupt, Tally, Tier, WeightsLate
from agents.weights.manifest import Chunk
from events.base import NodeId
from events.weights import ChunkHash
from handlers.clock import Clock
from projections.stores.objects import Objects

_log = structlog.get_logger()
PARALLEL = 8
"""Chunks in flight for this node's own replicas."""
FOR_PEERS = 4
"""Chunks in flight for other nodes."""


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
        self._me, self._on_corrupt = me, on_corrupt
        self._threads = Threads(PARALLEL + FOR_PEERS)
        self.in_thread = self._threads.run
        self._outside = Outside(self._threads, me=me, mirror=mirror, peers=peers, clock=clock, report=self.report)
        self._flights: dict[ChunkHash, asyncio.Future[None]] = {}
        self._flying: set[asyncio.Task[None]] = set()
        self._for_peers = asyncio.Semaphore(FOR_PEERS)

    async def close(self) -> None:
        for task in self._flying:
            task.cancel()
        await asyncio.gather(*self._flying, return_exceptions=True)
        self._threads.close()

    async def fill(self, regions: Sequence[Region], key: str) -> Tally:
        """`key`: of their file. Raises WeightsLate."""
        tally = Tally()

        def arrived(region: Region, tier: Tier) -> None:
            self.cache.add_place(region.chunk.hash, Place(key, region.offset))
            tally.add(tier, region.chunk.size)
            self._land(region.chunk.hash)

        while regions:
            here, own, waiting = [], dict[ChunkHash, Region](), []
            for region in regions:
                chunk = region.chunk.hash
                if self._elsewhere(region, key) is not None:
                    here.append(region)
                elif chunk in self._flights or chunk in own:
                    waiting.append(region)
                else:
                    own[chunk] = region
            if own:
                whom = self._outside.whom_to_ask(tuple(own.values()))
                try:
                    await self._fly(own, self._outside.get(whom, arrived))
                finally:
                    self._outside.asked_of_peers -= own.keys()
            for region in here:
                if await self._copied(region, key):
                    arrived(region, "node")
                else:
                    waiting.append(region)
            for region in waiting:
                if (flight := self._flights.get(region.chunk.hash)) is not None:
                    await landed(flight)
            regions = waiting
        return tally

    def _elsewhere(self, region: Region, key: str) -> Place | None:
        """In another file, or as a chunk by itself, on this disk."""
        known = self.cache.place(region.chunk.hash)
        return None if known == Place(key, region.offset) else known

    async def _copied(self, region: Region, key: str) -> bool:
        chunk = region.chunk.hash
        while (known := self._elsewhere(region, key)) is not None:
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
            if chunk.hash in self._outside.asked_of_peers:
                raise WeightsLate("mirror", "this node asks others for it itself")
            flight = self._flights.get(chunk.hash)
            if flight is None:
                async with self._for_peers:
                    if chunk.hash not in self._flights:
                        await self._fly([chunk.hash], self._keep_alone(chunk))
            else:
                await landed(flight)
        return known

    async def _keep_alone(self, chunk: Chunk) -> None:
        key = f"chunks/{chunk.hash}"
        path = self.cache.root / key
        aside = path.with_name(f"{path.name}.aside")
        await self.cache.reserve(key, chunk.size)
        try:
            with aside.open("wb", buffering=0) as file:
                await self._outside.from_mirror(Region(file.fileno(), 0, chunk))
            aside.replace(path)
            self.cache.add_place(chunk.hash, Place(key, 0))
            self._land(chunk.hash)
        except BaseException as error:
            aside.unlink(missing_ok=True)
            self.cache.evict(key)
            if isinstance(error, OSError):
                raise late(error) from error
            raise
        finally:
            self.cache.release(key)

    async def _fly(self, chunks: Iterable[ChunkHash], work: Coroutine[None, None, None]) -> None:
        """Nobody else fetches these meanwhile; who waits hears what went wrong.

        Cancelling ends it, and returns when nothing of it runs any more.
        """
        mine = {chunk: asyncio.get_running_loop().create_future() for chunk in chunks}
        self._flights.update(mine)
        task = asyncio.create_task(work)
        self._flying.add(task)
        task.add_done_callback(self._flying.discard)
        try:
            await task
        except Exception as error:
            for flight in (each for each in mine.values() if not each.done()):
                flight.set_exception(error)
                flight.exception()  # Perhaps nobody waits.
            raise
        finally:
            for chunk, flight in mine.items():
                flight.cancel()  # Unless it landed, or failed.
                if self._flights.get(chunk) is flight:
                    del self._flights[chunk]

    def _land(self, chunk: ChunkHash) -> None:
        if (flight := self._flights.pop(chunk, None)) is not None:
            flight.set_result(None)

    def report(self, corrupt: Corrupt) -> None:
        _log.error("weights are corrupt", chunk=corrupt.chunk, tier=corrupt.tier, source=corrupt.source)
        self._on_corrupt(corrupt)


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


async def landed(flight: asyncio.Future[None]) -> None:
    """Somebody else's: its failure is ours, its cancellation is not."""
    await asyncio.wait({flight})
    if not flight.cancelled() and (error := flight.exception()) is not None:
        raise error
