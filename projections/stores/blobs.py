"""Blobs: bytes under the digest of their content, in a folder. Written once, never changed.

A blob appears whole or not at all: it is written aside, hashed on the way, made durable, renamed. Two
writers of the same content are harmless, and a rewrite heals a damaged file. Bodies stream through; none is
held in memory.
"""

import asyncio
import hashlib
import os
import re
import time
from collections.abc import AsyncIterable
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import BinaryIO

from events.base import BlobDigest
from projections.stores.whole import READ_ONLY, fsync_folder

CHUNK_BYTES = 1 << 20
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
ASIDE = ".aside"


class BlobMissing(LookupError):
    """The store has no such blob."""


class BlobDamaged(Exception):
    """The bytes are not those that the digest names."""


class FolderBlobs:
    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, digest: BlobDigest) -> Path:
        """Where the blob is or would be. Refuses what is no digest, so no name can leave the folder."""
        if not _DIGEST.fullmatch(digest):
            raise ValueError(f"{digest!r} is not a blob digest: write sha256: and 64 hexadecimal digits")
        sha = digest.removeprefix("sha256:")
        return self.root / "sha256" / sha[:2] / sha

    def exists(self, digest: BlobDigest) -> bool:
        return self.path(digest).is_file()

    def size(self, digest: BlobDigest) -> int:
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            raise BlobMissing(f"no blob {digest}") from None

    def open(self, digest: BlobDigest) -> BinaryIO:
        try:
            return self.path(digest).open("rb")
        except FileNotFoundError:
            raise BlobMissing(f"no blob {digest}") from None

    def draft(self) -> "BlobDraft":
        """A blob in the making: `async with blobs.draft() as draft:`, then `write`s, then `seal`."""
        return BlobDraft(self)

    async def put(
        self, body: bytes | Path | BinaryIO | AsyncIterable[bytes], expected: BlobDigest | None = None
    ) -> BlobDigest:
        """Store and name the bytes. With `expected`, raises BlobDamaged when they are others."""
        async with self.draft() as draft:
            if isinstance(body, bytes):
                await draft.write(body)
            elif isinstance(body, Path):
                with await asyncio.to_thread(body.open, "rb") as source:
                    await asyncio.to_thread(draft.copy, source)
            elif isinstance(body, AsyncIterable):
                async for chunk in body:
                    await draft.write(chunk)
            else:
                await asyncio.to_thread(draft.copy, body)
            return await draft.seal(expected)

    async def read(self, digest: BlobDigest) -> bytes:
        """All of a small blob."""
        with self.open(digest) as source:
            return await asyncio.to_thread(source.read)

    def sweep(self, older_than_s: float = 86_400) -> int:
        """Remove drafts of killed writers. Other processes may be writing now, so only old ones are."""
        removed = 0
        for draft in (self.root / ASIDE).glob("*"):
            try:
                if time.time() - draft.stat().st_mtime >= older_than_s:
                    draft.unlink()
                    removed += 1
            except FileNotFoundError:
                continue  # Its writer was quicker.
        return removed

    def aside(self) -> Path:
        return aside_in(self.root)


def aside_in(root: Path) -> Path:
    """A new name for what is being written; `sweep` removes it when its writer was killed."""
    folder = root / ASIDE
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{os.getpid()}-{token_hex(8)}"


class BlobDraft:
    """Bytes on their way in. Gone without a trace unless sealed."""

    def __init__(self, blobs: FolderBlobs) -> None:
        self._blobs = blobs
        self._hasher = hashlib.sha256()
        self.size = 0

    async def __aenter__(self) -> "BlobDraft":
        self._path = self._blobs.aside()
        self._file = self._path.open("xb")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    async def write(self, chunk: bytes) -> None:
        if len(chunk) < CHUNK_BYTES // 16:
            self._append(chunk)  # A hop to a thread would cost more than the write.
        else:
            await asyncio.to_thread(self._append, chunk)

    def copy(self, source: BinaryIO) -> None:
        """All that is left of a file. Blocks: for a thread."""
        while chunk := source.read(CHUNK_BYTES):
            self._append(chunk)

    async def seal(self, expected: BlobDigest | None = None) -> BlobDigest:
        return await asyncio.to_thread(self._seal, expected)

    def _append(self, chunk: bytes) -> None:
        self._hasher.update(chunk)
        self._file.write(chunk)
        self.size += len(chunk)

    def _seal(self, expected: BlobDigest | None) -> BlobDigest:
        digest = BlobDigest(f"sha256:{self._hasher.hexdigest()}")
        if expected is not None and digest != expected:
            raise BlobDamaged(f"expected {expected}, the bytes are {digest}: send them again")
        self._file.flush()
        os.fchmod(self._file.fileno(), READ_ONLY)
        os.fsync(self._file.fileno())
        path = self._blobs.path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path.replace(path)
        fsync_folder(path.parent)
        return digest
