"""The weights of this node's replicas: fetched before they start, linked into a folder of their own while they live.

A link is what keeps a file in the cache, so the folder says what is in use, also to the next agent. The folder is
made when all files are there; it is mounted read-only where there is a sandbox (`sandbox.py`).
"""

import asyncio
import errno
import os
import shutil
import time
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import msgspec
import structlog

from agents.effects import Mounted
from agents.effects.folders import remove
from agents.effects.weights_cache import WeightsCache
from agents.effects.weights_fetch import WeightsFetch
from agents.weights.fetch import ContentId, Files, Tally, WeightsLate
from agents.weights.manifest import File
from events.base import ReplicaId
from events.weights import ManifestId, Mount

_log = structlog.get_logger()
_NO_LINK = frozenset((errno.EPERM, errno.EMLINK, errno.EXDEV, errno.EOPNOTSUPP))


class Fetched(msgspec.Struct, frozen=True):
    mounted: tuple[Mounted, ...]
    tally: Tally
    seconds: float


class NodeWeights:
    def __init__(self, fetch: WeightsFetch) -> None:
        self._fetch, self._cache = fetch, fetch.cache

    async def fetch(self, replica_id: ReplicaId, mounts: Sequence[Mount]) -> Fetched:
        """Raises WeightsLate, also where the disk refuses."""
        began = time.monotonic()
        tally, mounted = Tally(), []
        for number, mount in enumerate(mounts):
            async with self._here(mount.manifest_id, tally) as files:
                tree = await asyncio.to_thread(link, self._cache, replica_id, number, files)
            mounted.append(Mounted(str(tree), mount.mount_location))
        return Fetched(tuple(mounted), tally, time.monotonic() - began)

    async def prefetch(self, manifest_id: ManifestId) -> Fetched:
        """Into the cache, for whoever needs them later. Raises WeightsLate, also where the disk refuses."""
        began = time.monotonic()
        tally = Tally()
        async with self._here(manifest_id, tally):
            return Fetched((), tally, time.monotonic() - began)

    @asynccontextmanager
    async def _here(self, manifest_id: ManifestId, tally: Tally) -> AsyncIterator[Files]:
        """All of its files are in the cache, and stay there while this is open."""
        try:
            files = await self._fetch.files(manifest_id)
            known = [content for content, _ in files if f"files/{content}" in self._cache.shelf]
            async with self._fetch.held(files) as part:
                tally.join(part)
                yield files
            self._fetch.note_use(known)
        except OSError as error:
            raise WeightsLate("room", f"the node's weights cache cannot be used: {error}") from error

    def forget(self, replica_id: ReplicaId) -> None:
        """Its files may be evicted from now on. Blocks: for a thread."""
        remove(_trees(self._cache) / replica_id)

    def forget_others(self, known: Collection[ReplicaId]) -> None:
        """What an earlier agent left of replicas that are no more. Blocks: for a thread."""
        for path in _trees(self._cache).iterdir():
            if path.name not in known:
                remove(path)


def link(cache: WeightsCache, replica: str, number: int, files: Iterable[tuple[ContentId, File]]) -> Path:
    """A folder with these files, all of which must be in the cache. Blocks for a moment: for a thread."""
    tree = _trees(cache) / replica / str(number)
    remove(tree)
    tree.mkdir(parents=True)
    made = {""}
    # Names below open folders: the kernel need not walk down to the state folder for each.
    with _opened(cache.root / "files") as source, _opened(tree) as target:
        for content, file in files:
            folder = os.path.dirname(file.path)
            if folder not in made:
                os.makedirs(tree / folder, exist_ok=True)
                made.add(folder)
            try:
                os.link(content, file.path, src_dir_fd=source, dst_dir_fd=target)
            except OSError as error:
                if error.errno not in _NO_LINK:
                    raise
                _copy(cache.path(content), tree / file.path, file)
    return tree


def _copy(source: Path, target: Path, file: File) -> None:
    """A reflink or the kernel's own copy, where the file system can."""
    shutil.copyfile(source, target)
    os.chmod(target, file.mode)


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)


def _trees(cache: WeightsCache) -> Path:
    return cache.root / "replicas"
