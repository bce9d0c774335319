"""Chunks for other nodes: what this node's disk has, and, where it owns a chunk, what the mirror has.

Who asks shows that it is a node of this plane (`weights_peer_wire.py`), and may name several chunks: those after the
first are sent behind it as far as they are here already. Bytes go from the disk to the network by `sendfile`.
"""

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from io import FileIO

import msgspec
import structlog
from aiohttp import web

from agents.effects.weights_chunks import WeightsChunks
from agents.effects.weights_fetch import WeightsFetch
from agents.effects.weights_peer_wire import MORE, Keyring
from agents.weights.fetch import WeightsLate
from agents.weights.manifest import CHUNK_BYTES_MAX, BadManifest, Chunk, chunk_key
from events.weights import ChunkHash, ManifestId
from handlers.clock import Clock

_log = structlog.get_logger()


class PeerServer:
    def __init__(self, fetch: WeightsFetch, chunks: WeightsChunks, keyring: Keyring, clock: Clock) -> None:
        self._fetch, self._chunks, self._keyring, self._clock = fetch, chunks, keyring, clock
        self._runner: web.AppRunner | None = None
        self._doubts: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> int:
        """Returns the port. Raises OSError where it is taken."""
        app = web.Application()
        app.router.add_get("/chunks/{hash}/{size}", self._answer)
        app.router.add_get("/files/{manifest}/{number}", self._file)
        app.router.add_post("/chunks/{hash}/{size}/doubt", self._doubt)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        address = self._runner.addresses[0]
        return int(address[1])

    async def close(self) -> None:
        for task in self._doubts:
            task.cancel()
        await asyncio.gather(*self._doubts, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        chunks = self._asked(request)
        try:
            await self._chunks.for_peer(chunks[0])
        except WeightsLate as error:
            return web.Response(status=507 if error.lack == "room" else 503, text=error.reason)
        with ExitStack() as opened:
            spans = self._spans(chunks, opened)
            if not spans:
                return web.Response(status=503, text="it was just moved here: ask again")
            answer = web.StreamResponse(headers=self._keyring.answers(request.headers))
            answer.content_length = sum(span.size for span in spans)
            await answer.prepare(request)
            for span in spans:
                if request.transport is not None:
                    loop = asyncio.get_running_loop()
                    await loop.sendfile(request.transport, span.file, span.offset, span.size)
            await answer.write_eof()
        return answer

    def _spans(self, chunks: Sequence[Chunk], opened: ExitStack) -> list["_Span"]:
        """Of the first of them, as far as they are here: those that lie behind each other are one."""
        spans: list[_Span] = []
        files: dict[str, FileIO] = {}
        for chunk in chunks:
            place = self._chunks.cache.place(chunk.hash)
            if place is None:
                break
            try:
                if place.key not in files:
                    files[place.key] = opened.enter_context((self._chunks.cache.root / place.key).open("rb", 0))
            except FileNotFoundError:
                break
            file = files[place.key]
            if spans and spans[-1].file is file and spans[-1].offset + spans[-1].size == place.offset:
                spans[-1].size += chunk.size
            else:
                spans.append(_Span(file, place.offset, chunk.size))
        return spans

    async def _file(self, request: web.Request) -> web.StreamResponse:
        """A whole file, or a range of it, for whoever has a link; fetched before if need be."""
        until_s, proof = request.query.get("until", ""), request.query.get("proof", "")
        if not self._keyring.is_link(request.path, until_s, proof):
            raise web.HTTPForbidden(text="this link was not made by `causeway weights pointers` of this plane")
        if self._clock.now().timestamp() > int(until_s):
            raise web.HTTPForbidden(text="this link is too old: `causeway weights pointers` makes new ones")
        manifest_id, number = ManifestId(request.match_info["manifest"]), int(request.match_info["number"])
        try:
            files = await self._fetch.files(manifest_id)
            chosen = files[number : number + 1]
            async with self._fetch.held(chosen):
                for content, _ in chosen:
                    answer = web.FileResponse(self._chunks.cache.path(content))
                    with suppress(ConnectionError):  # They heard enough.
                        await answer.prepare(request)  # Sends it all.
                    return answer
        except WeightsLate as error:
            status = 404 if error.lack == "missing" else 503
            return web.Response(status=status, text=error.reason)
        raise web.HTTPNotFound(text=f"manifest {manifest_id} has no file {number}")

    async def _doubt(self, request: web.Request) -> web.Response:
        chunk = self._asked(request)[0]
        task = asyncio.create_task(self._look_at(chunk))
        self._doubts.add(task)
        task.add_done_callback(self._doubts.discard)
        return web.Response(status=202, headers=self._keyring.answers(request.headers))

    async def _look_at(self, chunk: Chunk) -> None:
        try:
            await self._fetch.doubted(chunk.hash)
        except (WeightsLate, OSError) as error:
            _log.warning("a chunk that a peer doubts could not be mended yet", chunk=chunk.hash, why=str(error))

    def _asked(self, request: web.Request) -> list[Chunk]:
        if not self._keyring.is_asked_by(request.headers):
            raise web.HTTPForbidden(text="this is no node of the plane: its secret differs (CAUSEWAY_PEER_SECRET)")
        try:
            first = _chunk(request.match_info["hash"], request.match_info["size"])
            more = [each.partition("/") for each in request.headers.get(MORE, "").split()]
            return [first, *(_chunk(digest, size) for digest, _, size in more)]
        except BadManifest as error:
            raise web.HTTPBadRequest(text=str(error)) from error


class _Span(msgspec.Struct):
    file: FileIO
    offset: int
    size: int


def _chunk(digest: str, size: str) -> Chunk:
    """Raises BadManifest."""
    chunk_key(ChunkHash(digest))
    if not size.isdecimal() or not 0 < int(size) <= CHUNK_BYTES_MAX:
        raise BadManifest(f"a chunk has 1 to {CHUNK_BYTES_MAX} bytes, not {size}")
    return Chunk(ChunkHash(digest), int(size))
