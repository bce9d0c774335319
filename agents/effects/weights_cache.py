"""The weights on this machine's disk: files by content, chunks that are kept for other nodes, and what uses them.

    files/ID            a whole file, read-only; replicas have it by hard links, which also say that it is in use
    files/ID.recipe     its chunks; files/ID.mark: that it was found right and durable, with its size and times then
    partial/ID          one in the making; chunks/HASH: a chunk by itself; manifests/ID; replicas/NAME/N/…: the links

The folder is all there is: an index in memory is made from it at every start. What is not marked is checked before it
is used. Decisions about what goes are `agents/weights/cache.py`'s. Only one process works on a folder.
"""

import asyncio
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from agents.effects.weights_marks import Mark, Use, mark_of
from agents.weights.cache import Shelf, drop, freeing, put, use, victims
from agents.weights.fetch import ContentId, WeightsLate
from agents.weights.manifest import Chunk, File
from events.weights import ChunkHash, ManifestId
from projections.stores.whole import fsync_folder, write_whole

KEEP_FREE_BYTES = 64 << 20
"""Of the disk: others write there too."""
_FOLDERS = ("files", "partial", "chunks", "manifests", "replicas")
_RECIPE, _MARK = ".recipe", ".mark"


class Place(msgspec.Struct, frozen=True):
    """Where a chunk is on this machine."""

    key: str
    offset: int


class WeightsCache:
    """Keys are paths below `root`. Not for several threads; what takes long is given to one."""

    def __init__(self, root: Path, budget_bytes: int, *, keep_free_bytes: int = KEEP_FREE_BYTES) -> None:
        self.root = root
        self._files = str(root / "files")
        self.shelf = Shelf(budget_bytes)
        self.pinned: Counter[str] = Counter()
        """What is being made, or belongs to a replica that starts."""
        self._keep_free_bytes = keep_free_bytes
        self.pending: dict[str, int] = {}
        """What is being made, and how many bytes it will still take of the disk."""
        self._partial: dict[str, tuple[Chunk, ...]] = {}
        self._places: dict[ChunkHash, tuple[Place, ...]] = {}
        self._marks: dict[ContentId, Mark] = {}
        self._making_room = asyncio.Lock()

    def open(self) -> None:
        """Reads the folder. Blocks: before anything else is asked."""
        self._make_folders()
        found = []
        for name in ("files", "partial", "chunks", "manifests"):
            for path in (self.root / name).iterdir():
                if path.suffix not in (_RECIPE, _MARK):
                    found.append((self._used_at(path), f"{name}/{path.name}"))
                elif not path.with_suffix("").exists():
                    path.unlink()
        for _, key in sorted(found):
            self._find(key)

    def _make_folders(self) -> None:
        """Also while it is in use: somebody may have emptied it by hand."""
        for name in _FOLDERS:
            (self.root / name).mkdir(parents=True, exist_ok=True)

    def _used_at(self, path: Path) -> float:
        mark = path.with_name(path.name + _MARK)
        return (mark if mark.exists() else path).stat().st_mtime

    def _find(self, key: str) -> None:
        folder, name = key.split("/")
        path, hot = self.root / key, False
        if path.suffix == ".aside":
            path.unlink()
            return
        if folder == "files":
            if not (self.root / f"{key}{_RECIPE}").exists():
                path.unlink()
                return
            with suppress(FileNotFoundError, msgspec.DecodeError):
                mark = msgspec.json.decode(path.with_name(name + _MARK).read_bytes(), type=Mark)
                self._marks[name], hot = mark, mark.hot
                if self.is_as_marked(name):
                    self._index(key, self.recipe(key))
        elif folder == "chunks":
            self._index(key, (Chunk(ChunkHash(name), path.stat().st_size),))
        # What lies in partial/ is looked at when it is wanted again.
        size = path.stat().st_blocks * 512 if folder == "partial" else path.stat().st_size
        put(self.shelf, key, size, hot=hot)

    # Where chunks are.

    def place(self, chunk: ChunkHash) -> Place | None:
        places = self._places.get(chunk)
        return places[0] if places else None

    def add_place(self, chunk: ChunkHash, place: Place) -> None:
        known = self._places.get(chunk, ())
        if place not in known:
            self._places[chunk] = (*known, place)

    def drop_place(self, chunk: ChunkHash, place: Place) -> None:
        left = tuple(each for each in self._places.get(chunk, ()) if each != place)
        if left:
            self._places[chunk] = left
        else:
            self._places.pop(chunk, None)

    def _index(self, key: str, chunks: Iterable[Chunk]) -> None:
        for chunk, offset in laid_out(chunks):
            self.add_place(chunk.hash, Place(key, offset))

    def _drop_index(self, key: str, chunks: Iterable[Chunk]) -> None:
        for chunk, offset in laid_out(chunks):
            self.drop_place(chunk.hash, Place(key, offset))

    def recipe(self, key: str) -> tuple[Chunk, ...]:
        body = (self.root / (key + _RECIPE)).read_bytes()
        return msgspec.json.decode(body, type=tuple[Chunk, ...])

    # Files.

    def has(self, content: ContentId) -> bool:
        """Forgets what somebody else has removed."""
        key = f"files/{content}"
        if key not in self.shelf:
            return False
        if self.path(content).exists() and (self.root / f"{key}{_RECIPE}").exists():
            return True
        self.evict(key)
        return False

    def path(self, content: ContentId) -> Path:
        return self.root / "files" / content

    def is_as_marked(self, content: ContentId) -> bool:
        """Checked once, and not written to since."""
        mark = self._marks.get(content)
        if mark is None:
            return False
        try:
            now = os.stat(f"{self._files}/{content}")
        except FileNotFoundError:
            return False
        return (mark.inode, mark.size, mark.modified_ns) == (now.st_ino, now.st_size, now.st_mtime_ns)

    def was_marked(self, content: ContentId) -> bool:
        return content in self._marks

    def longest_unchecked(self) -> ContentId | None:
        """None: there is nothing to look through."""
        files = (key.removeprefix("files/") for key in (*self.shelf.cold, *self.shelf.hot) if key.startswith("files/"))
        unmarked = (content for content in files if content not in self._marks)
        return next(unmarked, next(iter(self._marks), None))

    def unmark(self, content: ContentId) -> None:
        (self.root / "files" / f"{content}{_MARK}").unlink(missing_ok=True)
        self._marks.pop(content, None)

    def used(self, contents: Iterable[ContentId]) -> tuple[Use, ...]:
        """Once more: they were there when they were wanted. Gives what the disk is to be told: `write_uses`."""
        uses = []
        for content in contents:
            key = f"files/{content}"
            use(self.shelf, key)
            mark, now_hot = self._marks.get(content), None
            if mark is not None and not mark.hot and key in self.shelf.hot:
                self._marks[content] = now_hot = msgspec.structs.replace(mark, hot=True)
            uses.append(Use(f"{self._files}/{content}{_MARK}", now_hot))
        return tuple(uses)

    def begin(self, content: ContentId, file: File) -> int:
        """A handle of the file in the making; what an earlier attempt left in it is kept."""
        key = f"partial/{content}"
        handle = os.open(self.root / key, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(handle, file.size)
        self._partial[key] = file.chunks
        return handle

    def finish(self, content: ContentId, file: File, handle: int) -> None:
        """All of its chunks are there and right: from now on it is a file that replicas may have."""
        source, key = f"partial/{content}", f"files/{content}"
        os.fchmod(handle, 0o555 if file.mode & 0o111 else 0o444)
        write_whole(self.root / (key + _RECIPE), msgspec.json.encode(file.chunks))
        (self.root / source).replace(self.path(content))
        self._drop_index(source, self._partial.pop(source))
        self._index(key, file.chunks)
        drop(self.shelf, source)
        put(self.shelf, key, file.size)
        self._marks[content] = mark_of(handle)
        for chunk in file.chunks:
            alone = f"chunks/{chunk.hash}"
            if alone in self.shelf and not self.pinned[alone]:
                self.evict(alone)

    def make_durable(self, content: ContentId) -> Mark:
        """Blocks: for a thread."""
        with self.path(content).open("rb") as file:
            os.fsync(file.fileno())
            mark = mark_of(file.fileno())
        fsync_folder(self.root / "files")
        return mark

    def mark(self, content: ContentId, mark: Mark) -> None:
        if self.has(content):
            self._marks.pop(content, None)  # The longest unchecked is the first.
            self._write_mark(content, msgspec.structs.replace(mark, hot=f"files/{content}" in self.shelf.hot))
            self._index(f"files/{content}", self.recipe(f"files/{content}"))

    def _write_mark(self, content: ContentId, mark: Mark) -> None:
        self._marks[content] = mark
        write_whole(self.root / "files" / f"{content}{_MARK}", msgspec.json.encode(mark))

    # Manifests.

    def manifest(self, manifest_id: ManifestId) -> bytes | None:
        try:
            return (self.root / "manifests" / manifest_id).read_bytes()
        except FileNotFoundError:
            return None

    def manifest_as_kept(self, manifest_id: ManifestId) -> tuple[int, int, int] | None:
        """Tells whether its file was touched; None: there is none."""
        try:
            now = os.stat(self.root / "manifests" / manifest_id)
        except FileNotFoundError:
            return None
        return now.st_ino, now.st_size, now.st_mtime_ns

    def keep_manifest(self, manifest_id: ManifestId, body: bytes) -> None:
        self._make_folders()
        write_whole(self.root / "manifests" / manifest_id, body)
        put(self.shelf, f"manifests/{manifest_id}", len(body))

    # Room.

    async def reserve(self, key: str, size: int, written: int = 0) -> None:
        """Counts it from now on, pins it, and keeps the disk's room for what is not written of it yet.

        Raises WeightsLate where nothing more may go. `release` ends it.
        """
        self._make_folders()
        self.pinned[key] += 1
        try:
            async with self._making_room:
                known = self.shelf.cold.get(key, self.shelf.hot.get(key, 0))
                await self._make_room(size - known, size - written)
                put(self.shelf, key, size)
                self.pending[key] = size - written
        except BaseException:
            unpin(self.pinned, key)
            raise

    def release(self, key: str) -> None:
        unpin(self.pinned, key)
        self.pending.pop(key, None)

    def written(self, key: str, size: int) -> None:
        if key in self.pending:
            self.pending[key] = max(0, self.pending[key] - size)

    async def _make_room(self, need: int, to_write: int) -> None:
        going = victims(self.shelf, need, self.is_spared)
        if going is None:
            budget, used = self.shelf.budget_bytes, self.shelf.used_bytes
            raise WeightsLate(
                "room",
                f"the node's weights cache has no room for {need} bytes: {used} of its {budget} are used, and replicas"
                " need what is there (CAUSEWAY_WEIGHTS_CACHE_BYTES)",
            )
        await self._evict_all(going)
        lacking = to_write + sum(self.pending.values()) + self._keep_free_bytes - shutil.disk_usage(self.root).free
        going = freeing(self.shelf, lacking, self.is_spared)
        if going is None:
            raise WeightsLate("room", f"the node's disk is full: {to_write} bytes of weights need {lacking} more of it")
        await self._evict_all(going)

    def is_spared(self, key: str) -> bool:
        if self.pinned[key] > 0:
            return True
        if not key.startswith("files/"):
            return False
        try:
            return (self.root / key).stat().st_nlink > 1
        except FileNotFoundError:  # Somebody else removed it.
            return False

    async def _evict_all(self, keys: Iterable[str]) -> None:
        for key in keys:
            gone = self.evict(key, unlink=False)
            await asyncio.to_thread(_unlink, gone)

    def evict(self, key: str, *, unlink: bool = True) -> tuple[Path, ...]:
        folder, name = key.split("/")
        path = self.root / key
        if folder == "files":
            with suppress(FileNotFoundError, msgspec.DecodeError):
                self._drop_index(key, self.recipe(key))
            self._marks.pop(name, None)
        elif folder == "chunks":
            self.drop_place(ChunkHash(name), Place(key, 0))
        elif folder == "partial":
            self._drop_index(key, self._partial.pop(key, ()))
        drop(self.shelf, key)
        gone = (path, path.with_name(name + _RECIPE), path.with_name(name + _MARK))
        if unlink:
            _unlink(gone)
        return gone


def laid_out(chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk, int]]:
    """Each with its offset."""
    offset = 0
    for chunk in chunks:
        yield chunk, offset
        offset += chunk.size


def unpin(pinned: Counter[str], key: str) -> None:
    pinned[key] -= 1
    if pinned[key] <= 0:
        del pinned[key]


def _unlink(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
