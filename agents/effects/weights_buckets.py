"""What buckets have in common, whoever's they are: a prefix is a folder, and the pin is a digest of what lies below it.

Where a bucket keeps versions, what was pinned outlives its being overwritten: the listing is noted in the blob store,
and who comes again after a change reads the versions that it names.
"""

from collections.abc import Awaitable, Callable, Sequence

import blake3
import msgspec

from agents.effects.weights_sources import Listing, Source, SourceFailed, SourceFile
from agents.weights.manifest import PINS
from projections.stores.objects import ObjectMissing, Objects


async def below(source: str, prefix: str, listed: Callable[[str], Awaitable[list[SourceFile]]]) -> list[SourceFile]:
    """All objects of a folder; where there is no such folder, the one object of that name."""
    files = await listed(f"{prefix}/" if prefix else "")
    if not files and prefix:
        files = [file for file in await listed(prefix) if file.location == prefix]
    if not files:
        raise SourceFailed("missing", f"{source} holds no objects: check bucket and path")
    return files


def path_below(key: str, prefix: str) -> str:
    return key.removeprefix(prefix) if prefix.endswith("/") or not prefix else key.rpartition("/")[2]


def pinned(source: str, files: Sequence[SourceFile], revision: str | None) -> Listing:
    """Raises SourceFailed where something else was pinned."""
    seen = digest_of(files)
    if revision is not None and seen != revision:
        raise SourceFailed("changed", f"{source} changed after it was pinned: push again")
    return Listing(seen, tuple(files))


def digest_of(files: Sequence[SourceFile]) -> str:
    return blake3.blake3("\n".join(file.identity for file in files).encode()).hexdigest()[:16]


async def pin(source: Source, revision: str | None, objects: Objects) -> Listing:
    """What the source says now, or what it said when it was pinned and can still be read by its versions."""
    if revision is None:
        listing = await source.pin(None)
        if any(file.version for file in listing.files):
            await objects.put(PINS + listing.revision, msgspec.json.encode(listing))
        return listing
    try:
        return await source.pin(revision)
    except SourceFailed as failed:
        noted = await _noted(objects, revision) if failed.kind in ("changed", "missing") else None
        if noted is None:
            raise
        return noted


async def _noted(objects: Objects, revision: str) -> Listing | None:
    try:
        listing = msgspec.json.decode(await objects.read(PINS + revision), type=Listing)
    except (ObjectMissing, msgspec.MsgspecError):
        return None
    return listing if digest_of(listing.files) == revision and all(file.version for file in listing.files) else None
