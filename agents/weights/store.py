"""What lies in the blob store of weights: read, verified, and cleared of what nobody needs.

Clearing keeps every chunk of every manifest that is needed, and whatever is young: a mirror may be about to name it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable

import msgspec

from agents.weights.manifest import (
    CHUNKS,
    KNOWN,
    MANIFESTS,
    PINS,
    PLANES,
    BadManifest,
    Chunk,
    Manifest,
    chunk_hash,
    chunk_key,
    decode,
    manifest_key,
)
from events.weights import ChunkHash, ManifestId
from projections.stores.objects import ObjectMissing, Objects, Stored

_AT_ONCE = 8
PART_MANIFESTS = 1000


class Bad(msgspec.Struct, frozen=True):
    """A chunk, or a whole manifest, that is not what its name says."""

    manifest_id: ManifestId
    chunk: ChunkHash | None
    why: str

    @property
    def key(self) -> str:
        """Where it lies, or would."""
        return manifest_key(self.manifest_id) if self.chunk is None else chunk_key(self.chunk)


class Garbage(msgspec.Struct, frozen=True):
    manifests: tuple[Stored, ...]
    notes: tuple[Stored, ...]
    """Which chunks some content was, pointing to what goes; what was pinned by builds that are long over."""
    chunks: tuple[Stored, ...]
    kept_chunks: int
    young: int = 0
    """Manifests that stay only because they are young."""

    @property
    def bytes(self) -> int:
        return sum(each.size for each in (*self.manifests, *self.notes, *self.chunks))


async def join(objects: Objects, plane: str) -> None:
    """From now on this plane's weights lie here too, of which another plane's log knows nothing."""
    key = f"{PLANES}{plane}"
    if await objects.size(key) is None:
        await objects.put(key, b"a plane keeps weights here\n")


async def other_planes(objects: Objects, plane: str) -> list[str]:
    planes = [each.key.removeprefix(PLANES) async for each in objects.list(PLANES)]
    return [each for each in planes if each != plane]


async def manifest_of(objects: Objects, manifest_id: ManifestId) -> Manifest:
    """Raises BadManifest, also where it is missing."""
    try:
        return decode(manifest_id, await objects.read(manifest_key(manifest_id)))
    except ObjectMissing:
        raise BadManifest(f"manifest {manifest_id} is not in the blob store") from None


async def verify(objects: Objects, manifest_ids: Iterable[ManifestId]) -> AsyncIterator[Bad]:
    """Reads every byte of them, each chunk once."""
    seen: set[ChunkHash] = set()
    for manifest_id in manifest_ids:
        try:
            manifest = await manifest_of(objects, manifest_id)
        except BadManifest as error:
            yield Bad(manifest_id, None, str(error))
            continue
        fresh = [chunk for chunk in manifest.chunks() if chunk.hash not in seen]
        seen.update(chunk.hash for chunk in fresh)
        for start in range(0, len(fresh), _AT_ONCE):
            some = fresh[start : start + _AT_ONCE]
            for chunk, why in zip(some, await asyncio.gather(*(_wrong(objects, each) for each in some)), strict=True):
                if why is not None:
                    yield Bad(manifest_id, chunk.hash, why)


async def _wrong(objects: Objects, chunk: Chunk) -> str | None:
    try:
        body = await objects.read(chunk_key(chunk.hash))
    except ObjectMissing:
        return "is missing"
    if len(body) != chunk.size:
        return f"has {len(body)} bytes, not {chunk.size}"
    return None if await asyncio.to_thread(chunk_hash, body) == chunk.hash else "holds other bytes"


async def garbage_of(objects: Objects, needed: Collection[ManifestId], before_s: float) -> Garbage:
    """What is not needed and was written before. Raises BadManifest: then nobody knows what is needed."""
    chunks = {chunk_key(chunk.hash) for each in needed for chunk in (await manifest_of(objects, each)).chunks()}
    manifests = {manifest_key(each) for each in needed}
    others = [stored async for stored in objects.list(MANIFESTS) if stored.key not in manifests]
    young = [stored for stored in others if stored.modified_s >= before_s]
    for each in young:  # They keep their chunks, which may be old.
        manifest = await manifest_of(objects, ManifestId(each.key.removeprefix(MANIFESTS)))
        chunks.update(chunk_key(chunk.hash) for chunk in manifest.chunks())
    gone = [each async for each in objects.list(CHUNKS) if each.key not in chunks and each.modified_s < before_s]
    keys = {each.key for each in gone}
    unsure = [s async for s in objects.list(KNOWN) if await _points_to(objects, s, keys)]
    return Garbage(
        tuple(stored for stored in others if stored.modified_s < before_s),
        tuple(unsure + [s async for s in objects.list(PINS) if s.modified_s < before_s]),
        tuple(gone),
        len(chunks),
        len(young),
    )


async def _points_to(objects: Objects, note: Stored, gone: set[str]) -> bool:
    try:
        chunks = msgspec.json.decode(await objects.read(note.key), type=list[Chunk])
        return any(chunk_key(chunk.hash) in gone for chunk in chunks)
    except (ObjectMissing, msgspec.MsgspecError, BadManifest):
        return True  # Of no use to anybody.


def parts(garbage: Garbage) -> tuple[Garbage, ...]:
    """To be cleared one after the other, each small enough for one event that names its manifests."""
    whole = garbage.manifests
    last = max(0, len(whole) - 1) // PART_MANIFESTS * PART_MANIFESTS
    early = [whole[at : at + PART_MANIFESTS] for at in range(0, last, PART_MANIFESTS)]
    rest = Garbage(whole[last:], garbage.notes, garbage.chunks, garbage.kept_chunks)
    return (*(Garbage(some, (), (), garbage.kept_chunks) for some in early), rest)


async def clear(objects: Objects, garbage: Garbage, check: Callable[[], None] = lambda: None) -> None:
    """First what names chunks, then chunks: interrupted, it leaves nothing that points to nothing.

    `check` raises where it must not go on.
    """
    for each in (*garbage.manifests, *garbage.notes, *garbage.chunks):
        check()
        await objects.remove(each.key)
