"""Weights from a folder of this machine (`file://`), only below the folders that the operator allows.

The allowed folder is compared after links are followed, and a link that leads out of the source is refused.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from agents.effects.weights_buckets import pinned
from agents.effects.weights_sources import RANGE_BYTES, Access, Listing, Source, SourceFailed, SourceFile


@asynccontextmanager
async def folder(source: str, path: str, access: Access) -> AsyncIterator[Source]:
    root = Path(path).resolve()
    if not any(root.is_relative_to(Path(allowed).resolve()) for allowed in access.folders):
        allowed = ", ".join(access.folders) or "none"
        raise SourceFailed(
            "private",
            f"{source} is not below a folder that CAUSEWAY_WEIGHTS_FOLDERS allows ({allowed}): ask its operator",
        )
    yield Folder(source, root)


class Folder:
    def __init__(self, source: str, root: Path) -> None:
        self._source = source
        self._root = root

    async def pin(self, revision: str | None) -> Listing:
        return pinned(self._source, await asyncio.to_thread(self._list), revision)

    async def stream(self, file: SourceFile, start: int) -> AsyncIterator[bytes]:
        try:
            with Path(file.location).open("rb") as opened:
                if _etag(os.fstat(opened.fileno())) != file.etag:
                    raise SourceFailed("changed", f"{file.location} changed after it was listed: push again")
                opened.seek(start)
                while body := await asyncio.to_thread(opened.read, RANGE_BYTES):
                    yield body
                if _etag(os.fstat(opened.fileno())) != file.etag:
                    raise SourceFailed("changed", f"{file.location} changed while it was read: push again")
        except OSError as error:
            raise SourceFailed("unavailable", f"{file.location} cannot be read: {error}") from error

    def _list(self) -> list[SourceFile]:
        if not self._root.is_dir():
            raise SourceFailed("missing", f"{self._source} is not a folder of this machine")
        return [self._file(path) for path in sorted(self._root.rglob("*")) if path.is_file()]

    def _file(self, path: Path) -> SourceFile:
        real = path.resolve()
        if not real.is_relative_to(self._root):
            raise SourceFailed("invalid", f"{path} leads out of {self._source} through a link: copy the file there")
        found = real.stat()
        etag = _etag(found)
        return SourceFile(
            path.relative_to(self._root).as_posix(), found.st_size, f"{path}\0{etag}", str(real), etag=etag
        )


def _etag(found: os.stat_result) -> str:
    return f"{found.st_ino}-{found.st_mtime_ns}-{found.st_size}"
