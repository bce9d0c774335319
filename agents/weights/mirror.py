"""Brings the files of a source into the blob store as chunks, each file streamed once, and publishes their manifest.

What is known is not read again: content that the source names by a hash or an ETag has a note in the store that says
which chunks it is. A file under way has a journal, a line a chunk, written after the chunk is durable: whoever goes on
reads back what is stored, checks it, and asks the source for the rest only. Nothing is believed that was not hashed:
the source's own hash and size decide whether a file is taken.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

import blake3
import msgspec

from agents.effects.folders import locked
from agents.effects.weights_sources import Listing, Source, SourceFailed, SourceFile
from agents.weights.chunks import CUTTING, Cutter
from agents.weights.manifest import (
    KNOWN,
    MODES,
    VERSION,
    BadManifest,
    Chunk,
    File,
    Manifest,
    check_path,
    chunk_hash,
    chunk_key,
    encode,
    manifest_key,
)
from agents.weights.wanted import Wanted, selected
from events.weights import ManifestId
from projections.stores.objects import ObjectMissing, Objects

FILES_AT_ONCE = 4
PUTS_AT_ONCE = 4
"""Of one file: chunks on their way into the store."""
_LOOKS_AT_ONCE = 16
_TOLD = 5
"""Names of files, where patterns meet none."""


class Moved(msgspec.Struct):
    """Counted on the way."""

    files: int = 0
    files_total: int = 0
    bytes: int = 0
    """Accounted for, wherever they came from."""
    bytes_total: int = 0
    bytes_read: int = 0
    """From the source."""
    bytes_stored: int = 0
    """New in the store."""


class Mirrored(msgspec.Struct, frozen=True):
    manifest_id: ManifestId
    files: int
    bytes: int
    chunks: int
    bytes_read: int
    bytes_stored: int


class Mirror:
    """`journals`: a folder of this machine, shared by all who mirror on it."""

    def __init__(self, objects: Objects, journals: Path, moved: Moved) -> None:
        self._objects = objects
        self._journals = journals
        self._moved = moved
        self._room = asyncio.Semaphore(FILES_AT_ONCE)

    async def run(self, source: Source, listing: Listing, wanted: Wanted) -> Mirrored:
        """Raises SourceFailed and StoreUnavailable."""
        files = chosen(listing, wanted)
        self._moved.files_total, self._moved.bytes_total = len(files), sum(file.size for file in files)
        try:
            async with asyncio.TaskGroup() as tasks:
                flights = [tasks.create_task(self._file(source, file)) for file in files]
        except BaseExceptionGroup as group:  # The first says why; the others were stopped for it.
            raise group.exceptions[0] from None
        manifest = Manifest(VERSION, tuple(flight.result() for flight in flights))
        try:
            manifest_id, body = encode(manifest)
        except BadManifest as error:
            raise SourceFailed("invalid", f"{wanted.shown}: {error}") from error
        await self._objects.put(manifest_key(manifest_id), body)
        return Mirrored(
            manifest_id,
            len(files),
            manifest.bytes,
            sum(1 for _ in manifest.chunks()),
            self._moved.bytes_read,
            self._moved.bytes_stored,
        )

    async def _file(self, source: Source, file: SourceFile) -> File:
        async with self._room:
            name = blake3.blake3(f"{CUTTING}\0{file.identity or file.location}".encode()).hexdigest()
            async with locked(self._journals / f"{name}.lock"):  # One flight, however many ask.
                chunks = await self._known(name, file) if file.identity else None
                if chunks is None:
                    chunks = await self._fetched(source, file, self._journals / f"{name}.journal")
                    if file.identity:
                        await self._objects.put(KNOWN + name, msgspec.json.encode(chunks))
        self._moved.files += 1
        return File(file.path, file.size, MODES[0], tuple(chunks))

    async def _known(self, name: str, file: SourceFile) -> list[Chunk] | None:
        """Its chunks, if it was mirrored before and all of them are still there."""
        try:
            chunks = msgspec.json.decode(await self._objects.read(KNOWN + name), type=list[Chunk])
        except (ObjectMissing, msgspec.MsgspecError):
            return None
        if sum(chunk.size for chunk in chunks) != file.size or not await self._all_there(chunks):
            return None
        self._moved.bytes += file.size
        return chunks

    async def _all_there(self, chunks: Sequence[Chunk]) -> bool:
        room = asyncio.Semaphore(_LOOKS_AT_ONCE)

        async def there(chunk: Chunk) -> bool:
            async with room:
                return await self._objects.size(chunk_key(chunk.hash)) == chunk.size

        return all(await asyncio.gather(*map(there, chunks)))

    async def _fetched(self, source: Source, file: SourceFile, journal: Path) -> list[Chunk]:
        hasher, cutter = hasher_of(file), Cutter(file.path)
        if not file.identity:  # Nothing says that it is still what the journal was begun for.
            journal.unlink(missing_ok=True)
        chunks = await self._resumed(journal, cutter, hasher)
        with journal.open("a") as noted:
            async with _Puts(self._put, lambda chunk: _note(noted, chunk)) as puts:
                async for chunk, body in self._cut(source, file, sum(chunk.size for chunk in chunks), cutter, hasher):
                    chunks.append(chunk)
                    await puts.add(chunk, body)
        try:
            _check(file, sum(chunk.size for chunk in chunks), hasher)
        finally:
            journal.unlink()  # Done, or nothing to build upon.
        return chunks

    async def _cut(
        self, source: Source, file: SourceFile, start: int, cutter: Cutter, hasher: Any
    ) -> AsyncIterator[tuple[Chunk, memoryview]]:
        def look(body: bytes | None) -> list[tuple[Chunk, memoryview]]:
            """All that is computed of it, in one go: going into a thread and back costs more than a hash."""
            if body is not None and hasher is not None:
                hasher.update(body)
            parts = cutter.rest() if body is None else cutter.feed(body)
            return [(Chunk(chunk_hash(part), len(part)), part) for part in parts]

        if start < file.size:
            async for body in source.stream(file, start):
                self._moved.bytes_read += len(body)
                self._moved.bytes += len(body)
                for found in await asyncio.to_thread(look, body):
                    yield found
        for found in await asyncio.to_thread(look, None):
            yield found

    async def _resumed(self, journal: Path, cutter: Cutter, hasher: Any) -> list[Chunk]:
        """What an earlier run had stored, as far as it is whole and in a row."""
        chunks: list[Chunk] = []
        for chunk in await asyncio.to_thread(_read_journal, journal):
            try:
                body = await self._objects.read(chunk_key(chunk.hash))
            except ObjectMissing:
                break
            if len(body) != chunk.size or await asyncio.to_thread(chunk_hash, body) != chunk.hash:
                break
            if hasher is not None:
                await asyncio.to_thread(hasher.update, body)
            cutter.past(body)
            self._moved.bytes += chunk.size
            chunks.append(chunk)
        await asyncio.to_thread(_write_journal, journal, chunks)
        return chunks

    async def _put(self, chunk: Chunk, body: memoryview) -> None:
        key = chunk_key(chunk.hash)
        if await self._objects.size(key) != chunk.size:
            await self._objects.put(key, body)
            self._moved.bytes_stored += chunk.size


def chosen(listing: Listing, wanted: Wanted) -> list[SourceFile]:
    """The files that are wanted, in order of need. Raises SourceFailed."""
    by_path = {file.path: file for file in listing.files}
    files = [by_path[path] for path in selected(list(by_path), wanted)]
    if not files:
        raise SourceFailed(
            "missing",
            f"{wanted.shown}: none of its {len(by_path)} files is let through by allow_patterns and ignore_patterns:"
            f" correct these; there are {_some(sorted(by_path))}",
        )
    for file in files:
        try:
            check_path(file.path)
        except BadManifest as error:
            raise SourceFailed("invalid", f"{wanted.shown}: {error}") from None
    return files


def _some(paths: Sequence[str]) -> str:
    return ", ".join(paths[:_TOLD]) + (", …" if len(paths) > _TOLD else "")


def hasher_of(file: SourceFile) -> Any:
    """Computes what the source states of the file; None if it states nothing."""
    if file.stated is None:
        return None
    if file.stated.algorithm == "sha256":
        return hashlib.sha256()
    if file.stated.algorithm == "md5":
        return hashlib.md5(usedforsecurity=False)
    if file.stated.algorithm == "crc32c":
        from google_crc32c import Checksum  # Of an extra: only one source states it.

        return Checksum()  # type: ignore[no-untyped-call]
    return hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)


def _check(file: SourceFile, size: int, hasher: Any) -> None:
    if size != file.size:
        raise SourceFailed("damaged", f"{file.path}: {size} bytes came, {file.size} are listed: push again")
    if file.stated is not None and hasher.digest().hex() != file.stated.digest:
        raise SourceFailed(
            "damaged",
            f"{file.path}: the bytes that came have {file.stated.algorithm} {hasher.digest().hex()}, "
            f"the source says {file.stated.digest}: push again",
        )


class _Puts:
    """Chunks on their way into the store, noted in order once they are there."""

    def __init__(self, put: Callable[[Chunk, memoryview], Any], note: Callable[[Chunk], None]) -> None:
        self._put = put
        self._note = note
        self._flights: list[tuple[Chunk, asyncio.Task[None]]] = []

    async def __aenter__(self) -> "_Puts":
        return self

    async def add(self, chunk: Chunk, body: memoryview) -> None:
        self._flights.append((chunk, asyncio.create_task(self._put(chunk, body))))
        if len(self._flights) >= PUTS_AT_ONCE:
            await self._first()

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            while self._flights and kind is None:
                await self._first()
        finally:
            left = [flight for _, flight in self._flights]
            for flight in left:
                flight.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def _first(self) -> None:
        chunk, flight = self._flights[0]
        await flight
        del self._flights[0]
        self._note(chunk)


def forget_journals(journals: Path, before_s: float) -> None:
    """Of pushes that nobody repeated. Blocks; while nobody mirrors."""
    for path in journals.glob("*.*"):
        if path.suffix in (".journal", ".lock", ".aside") and path.stat().st_mtime < before_s:
            path.unlink()


def _read_journal(journal: Path) -> list[Chunk]:
    """Its whole lines: a killed writer may have left half of one."""
    if not journal.exists():
        return []
    chunks = []
    for line in journal.read_bytes().splitlines(keepends=True):
        try:
            chunks.append(msgspec.json.decode(line, type=Chunk))
        except msgspec.MsgspecError:
            break
        if not line.endswith(b"\n"):
            break
    return chunks


def _write_journal(journal: Path, chunks: Sequence[Chunk]) -> None:
    aside = journal.with_suffix(".aside")
    aside.write_bytes(b"".join(msgspec.json.encode(chunk) + b"\n" for chunk in chunks))
    aside.replace(journal)


def _note(noted: TextIO, chunk: Chunk) -> None:
    noted.write(msgspec.json.encode(chunk).decode() + "\n")
    noted.flush()
