"""The process that mirrors one source: what it may know comes in a file, what happens goes out as JSON lines.

A process of its own, because the clients of the sources are large and slow to import, and because it can be killed: it
goes on where it was. `weights_mirroring.py` starts it.
"""

import asyncio
import resource
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import msgspec

from agents.effects.objects import open_objects
from agents.effects.weights_buckets import pin
from agents.effects.weights_sources import Access, FailureKind, SourceFailed, open_source
from agents.weights.mirror import FILES_AT_ONCE, PUTS_AT_ONCE, Mirror, Mirrored, Moved, chosen
from agents.weights.wanted import Wanted
from projections.stores.objects import StoreUnavailable

_PROGRESS_EVERY_S = 2.0
_THREADS = FILES_AT_ONCE * (PUTS_AT_ONCE + 1)
"""For each chunk that waits for the disk and each file's hashing: neither waits for the other."""


class Job(msgspec.Struct, frozen=True):
    wanted: Wanted
    revision: str | None
    """The pin, if there is one already."""
    access: Access
    store: str
    journals: str


class Pinned(msgspec.Struct, frozen=True, tag=True):
    revision: str
    files: int
    bytes: int
    notes: tuple[str, ...]


class Progress(msgspec.Struct, frozen=True, tag=True):
    moved: Moved


class Finished(msgspec.Struct, frozen=True, tag=True):
    mirrored: Mirrored
    peak_bytes: int
    """The most memory that the process ever had."""


class Failed(msgspec.Struct, frozen=True, tag=True):
    kind: FailureKind
    reason: str


Said = Pinned | Progress | Finished | Failed


async def work(job: Job) -> Finished:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS))
    moved = Moved()
    async with (
        open_objects(job.store, job.access.surroundings) as objects,
        open_source(job.wanted.source, job.access) as source,
    ):
        listing = await pin(source, job.revision, objects)
        files = chosen(listing, job.wanted)
        say(Pinned(listing.revision, len(files), sum(file.size for file in files), listing.notes))
        telling = asyncio.create_task(_tell(moved))
        try:
            mirrored = await Mirror(objects, Path(job.journals), moved).run(source, listing, job.wanted)
        finally:
            telling.cancel()
            with suppress(asyncio.CancelledError):
                await telling
    return Finished(mirrored, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10)


async def _tell(moved: Moved) -> None:
    while True:
        await asyncio.sleep(_PROGRESS_EVERY_S)
        say(Progress(moved))


def say(what: Said) -> None:
    sys.stdout.write(msgspec.json.encode(what).decode() + "\n")
    sys.stdout.flush()


def main() -> None:
    path = Path(sys.argv[1])
    job = msgspec.json.decode(path.read_bytes(), type=Job)
    path.unlink()  # It holds the secret.
    try:
        say(asyncio.run(work(job)))
    except SourceFailed as failed:
        say(Failed(failed.kind, failed.reason))
    except StoreUnavailable as error:
        say(Failed("unavailable", f"the blob store: {error}"))
    except OSError as error:
        say(Failed("unavailable", str(error)))


if __name__ == "__main__":
    main()
