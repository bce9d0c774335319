"""Objects: bytes under a key, in a folder or an S3 bucket. What lies under a key is content-addressed or never changes.

An object appears whole or not at all, and writing the same again is harmless; nobody relies on conditional writes.
The folder lays them out as files, so `weights/chunks/ab/abc…` is that path below its root.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path, PurePosixPath
from typing import Protocol

import msgspec

from projections.stores.blobs import ASIDE, aside_in
from projections.stores.whole import READ_ONLY, write_whole


class ObjectMissing(LookupError):
    """The store has nothing under this key."""


class StoreUnavailable(Exception):
    """The store could not be asked, or failed; the same may succeed later."""


class Stored(msgspec.Struct, frozen=True):
    key: str
    size: int
    modified_s: float
    """Seconds since 1970, by the store's clock."""


class Objects(Protocol):
    """Every method raises StoreUnavailable when the store is out of reach, full or failing."""

    async def put(self, key: str, body: bytes | memoryview) -> None:
        """Durable when this returns."""
        ...

    async def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """The bytes from `start`, `length` of them or all. Raises ObjectMissing."""
        ...

    async def size(self, key: str) -> int | None:
        """None: there is no such object."""
        ...

    def list(self, prefix: str) -> AsyncIterator[Stored]:
        """All whose key begins with it, which ends with a slash; empty: all there are."""
        ...

    async def remove(self, key: str) -> None:
        """Also when it is not there."""
        ...


class FolderObjects:
    """Objects as files. `root` is the state folder's `blobs`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, key: str) -> Path:
        """Where the object is or would be. Refuses a key that leads elsewhere."""
        parts = PurePosixPath(key).parts
        if not parts or key.startswith("/") or ".." in parts or ASIDE in parts or "/".join(parts) != key:
            raise ValueError(f"{key!r} is not a key: write names with one slash between them")
        return self.root / key

    async def put(self, key: str, body: bytes | memoryview) -> None:
        try:
            await asyncio.to_thread(
                write_whole, self.path(key), body, mode=READ_ONLY, durable=True, aside=aside_in(self.root)
            )
        except OSError as error:
            raise StoreUnavailable(f"{key} cannot be written: {error}") from error

    async def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        try:
            return await asyncio.to_thread(_read, self.path(key), start, length)
        except FileNotFoundError:
            raise ObjectMissing(f"no object {key}") from None
        except OSError as error:
            raise StoreUnavailable(f"{key} cannot be read: {error}") from error

    async def size(self, key: str) -> int | None:
        try:
            return self.path(key).stat().st_size
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreUnavailable(f"{key} cannot be looked up: {error}") from error

    async def list(self, prefix: str) -> AsyncIterator[Stored]:
        top = self.path(prefix.removesuffix("/")) if prefix else self.root
        for folder, folders, names in os.walk(top, onerror=_unless_gone):
            folders[:] = sorted(each for each in folders if each != ASIDE)
            await asyncio.sleep(0)  # There may be thousands of folders, and others have work too.
            for name in sorted(names):
                path = Path(folder) / name
                try:
                    found = path.stat()
                except FileNotFoundError:
                    continue  # Removed meanwhile.
                yield Stored(path.relative_to(self.root).as_posix(), found.st_size, found.st_mtime)

    async def remove(self, key: str) -> None:
        try:
            self.path(key).unlink(missing_ok=True)
        except OSError as error:
            raise StoreUnavailable(f"{key} cannot be removed: {error}") from error


def _unless_gone(error: OSError) -> None:
    """What cannot be listed is not what is not there."""
    if not isinstance(error, FileNotFoundError):
        raise StoreUnavailable(f"a folder cannot be listed: {error}") from error


def _read(path: Path, start: int, length: int | None) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read() if length is None else file.read(length)
