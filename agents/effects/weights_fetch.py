"""Whole files of weights on this node's disk, however they come there: made once a content, checked before use, mended.

One flight a file, however many replicas ask. What an attempt has got stays for the next one, also of another process.
A file is used as soon as its last chunk is right, and made durable meanwhile: until that is so it is not marked, and a
later agent checks it again.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import islice

import structlog

from agents.effects.weights_cache import Place, WeightsCache, laid_out, unpin
from agents.effects.weights_chunks import PARALLEL, WeightsChunks, first, is_in_file
from agents.effects.weights_marks import Use, write_uses
from agents.effects.weights_outside import MIRROR, late
from agents.effects.weights_region import Region
from agents.weights.fetch import ContentId, Corrupt, Files, Tally, WeightsLate, contents
from agents.weights.manifest import BadManifest, Chunk, File, Manifest, decode, manifest_key
from events.base import NodeId
from events.weights import ChunkHash, ManifestId
from projections.stores.objects import ObjectMissing, Objects, StoreUnavailable

_log = structlog.get_logger()
FILES_AT_ONCE = 4
RUN_CHUNKS = 16
"""Of a file, one after the other, that are fetched together: by one thread, or with one question to a peer."""
_LATELY, _LATELY_BYTES = 16, 1 << 20
"""Manifests that need not be read and checked again at each start, and how large one of them may be."""


class WeightsFetch:
    def __init__(self, chunks: WeightsChunks, *, me: NodeId, mirror: Objects, verify_always: bool = False) -> None:
        self.cache: WeightsCache = chunks.cache
        self._chunks, self._me, self._mirror, self._verify_always = chunks, me, mirror, verify_always
        self._files: dict[ContentId, asyncio.Task[Tally]] = {}
        self._lately: dict[ManifestId, tuple[tuple[int, int, int], Files]] = {}
        """What was decoded last, and how its file was then."""
        self._later: set[asyncio.Task[None]] = set()
        self._own = asyncio.Semaphore(PARALLEL)

    async def close(self) -> None:
        """Ends what is under way; it is taken up again by the next."""
        tasks = (*self._files.values(), *self._later)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._chunks.close()

    async def files(self, manifest_id: ManifestId) -> Files:
        """Those of a manifest. Raises WeightsLate."""
        unchanged = self.cache.manifest_as_kept(manifest_id)
        if unchanged is not None and self._lately.get(manifest_id, (None, ()))[0] == unchanged:
            return self._lately[manifest_id][1]
        files = contents(await self._manifest(manifest_id))
        kept = self.cache.manifest_as_kept(manifest_id)
        if kept is not None and kept[1] <= _LATELY_BYTES:
            self._lately.pop(manifest_id, None)
            self._lately[manifest_id] = kept, files
            if len(self._lately) > _LATELY:
                del self._lately[next(iter(self._lately))]
        return files

    def note_use(self, known: Sequence[ContentId]) -> None:
        """Files that were there when a replica wanted them. The disk hears of it later: the start does not wait."""
        self._in_background(self._write_uses(self.cache.used(known)))

    async def _write_uses(self, uses: Sequence[Use]) -> None:
        try:
            await self._chunks.in_thread(write_uses, uses)
        except OSError as error:
            _log.warning("a use of weights is not on the disk: the next agent may evict them earlier", why=str(error))

    async def _manifest(self, manifest_id: ManifestId) -> Manifest:
        if (known := self.cache.manifest(manifest_id)) is not None:
            try:
                return decode(manifest_id, known)
            except BadManifest:
                self._chunks.report(Corrupt(ChunkHash(manifest_id), "node", self._me))
        try:
            body = await self._mirror.read(manifest_key(manifest_id))
            manifest = decode(manifest_id, body)
        except ObjectMissing:
            raise WeightsLate(
                "missing", f"the mirror has no manifest {manifest_id}: push the deployment again"
            ) from None
        except StoreUnavailable as error:
            raise WeightsLate("mirror", f"the mirror cannot be read: {error}") from error
        except BadManifest as error:
            self._chunks.report(Corrupt(ChunkHash(manifest_id), "mirror", MIRROR))
            raise WeightsLate("corrupt", f"the mirror's {error}") from error
        self.cache.keep_manifest(manifest_id, body)
        return manifest

    @asynccontextmanager
    async def held(self, files: Files) -> AsyncIterator[Tally]:
        """All of them are on this node and right, and stay there while this is open. Raises WeightsLate."""
        keys = [f"files/{content}" for content, _ in files]
        self.cache.pinned.update(keys)
        try:
            yield await self._ensure(files)
        finally:
            for key in keys:
                unpin(self.cache.pinned, key)

    async def _ensure(self, files: Iterable[tuple[ContentId, File]]) -> Tally:
        tally, gate = Tally(), asyncio.Semaphore(FILES_AT_ONCE)
        lacking = {}
        for content, file in files:
            if self._is_right(content):
                tally.add("node", file.size)
            else:
                lacking[content] = file

        async def one(content: ContentId, file: File) -> None:
            try:
                tally.join(await self._file(content, file))
            finally:
                gate.release()

        try:
            async with asyncio.TaskGroup() as group:
                for content, file in lacking.items():
                    await gate.acquire()
                    group.create_task(one(content, file))
        except BaseExceptionGroup as errors:
            raise first(errors) from errors
        return tally

    def _is_right(self, content: ContentId) -> bool:
        return not self._verify_always and self.cache.is_as_marked(content)

    async def verify(self, content: ContentId) -> None:
        """Reads the file whole; what is wrong in it is fetched again, in its place. Raises WeightsLate."""
        key, was_marked = f"files/{content}", self.cache.was_marked(content)
        self.cache.pinned[key] += 1
        try:
            for chunk, offset in laid_out(self.cache.recipe(key)):
                if not await self._chunks.in_thread(is_in_file, self.cache.path(content), offset, chunk):
                    self.cache.drop_place(chunk.hash, Place(key, offset))
                    if was_marked:  # Else its writing was cut short.
                        self._chunks.report(Corrupt(chunk.hash, "node", self._me))
                    await self._mend(content, chunk, offset)
            self.cache.mark(content, await self._chunks.in_thread(self.cache.make_durable, content))
        finally:
            unpin(self.cache.pinned, key)

    async def _mend(self, content: ContentId, chunk: Chunk, offset: int) -> None:
        self.cache.unmark(content)
        path = self.cache.path(content)
        mode = path.stat().st_mode
        path.chmod(0o600)  # For who is not the superuser.
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        path.chmod(mode)
        try:
            await self._chunks.fill([Region(handle, offset, chunk)], f"files/{content}")
        finally:
            os.close(handle)

    async def doubted(self, chunk: ChunkHash) -> None:
        """A peer got other bytes from here: what is wrong on this disk goes, or is mended where a file has it."""
        place = self.cache.place(chunk)
        if place is None or place.key.startswith("partial/"):
            return
        if place.key.startswith("files/"):
            await self.verify(place.key.removeprefix("files/"))
            return
        path = self.cache.root / place.key
        whole = Chunk(chunk, path.stat().st_size)
        if not await self._chunks.in_thread(is_in_file, path, 0, whole):
            self._chunks.report(Corrupt(chunk, "node", self._me))
            self.cache.evict(place.key)

    # A file.

    async def _file(self, content: ContentId, file: File) -> Tally:
        if self.cache.has(content):
            if not self._is_right(content):
                await self.verify(content)
            return Tally(node=file.size)
        task = self._files.get(content)
        if task is not None:
            await asyncio.shield(task)
            return Tally(node=file.size)
        task = self._files[content] = asyncio.create_task(self._make(content, file))
        task.add_done_callback(partial(self._made, content))
        return await asyncio.shield(task)

    def _made(self, content: ContentId, task: asyncio.Task[Tally]) -> None:
        """Several files may fail at once; who waits hears of the first."""
        del self._files[content]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.warning("a file of weights could not be made yet", content=content, why=str(error))

    async def _make(self, content: ContentId, file: File) -> Tally:
        key, tally = f"partial/{content}", Tally()
        path = self.cache.root / key
        written = min(file.size, path.stat().st_blocks * 512) if path.exists() else 0
        await self.cache.reserve(key, file.size, written)
        try:
            handle = self.cache.begin(content, file)
            try:
                runs = _runs(file.chunks, handle)
                async with asyncio.TaskGroup() as group:
                    for _ in range(min(PARALLEL, len(file.chunks))):
                        group.create_task(self._fill_all(runs, key, tally, resumed=written > 0))
                self.cache.finish(content, file, handle)
            finally:
                os.close(handle)
        except BaseExceptionGroup as errors:
            raise first(errors) from errors
        except OSError as error:
            raise late(error) from error
        finally:
            self.cache.release(key)
        self._in_background(self._settle(content))
        return tally

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        later = asyncio.create_task(work)
        self._later.add(later)
        later.add_done_callback(self._later.discard)

    async def _settle(self, content: ContentId) -> None:
        """Durable behind the back of who uses it already: until it is marked, the next agent would check it."""
        try:
            self.cache.mark(content, await self._chunks.in_thread(self.cache.make_durable, content))
        except OSError as error:
            _log.warning("weights are not durable and are checked again after a restart", why=str(error))

    async def _fill_all(self, runs: Iterator[list[Region]], key: str, tally: Tally, *, resumed: bool) -> None:
        for run in runs:
            async with self._own:
                lacking = await self._chunks.in_thread(_not_there, run) if resumed else run
                for region in run:
                    if region not in lacking:
                        self.cache.add_place(region.chunk.hash, Place(key, region.offset))
                        tally.add("node", region.chunk.size)
                tally.join(await self._chunks.fill(lacking, key))
                self.cache.written(key, sum(region.chunk.size for region in lacking))


def _runs(chunks: Sequence[Chunk], handle: int) -> Iterator[list[Region]]:
    """Shorter where there would be too few of them to be fetched side by side."""
    length = max(1, min(RUN_CHUNKS, len(chunks) // PARALLEL))
    regions = (Region(handle, offset, chunk) for chunk, offset in laid_out(chunks))
    while run := list(islice(regions, length)):
        yield run


def _not_there(run: Sequence[Region]) -> list[Region]:
    return [region for region in run if not region.is_there()]
