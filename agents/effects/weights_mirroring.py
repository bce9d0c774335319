"""Mirrors what a config asks for under `weights`, one child process a source, and tells what happened on the way.

The builder's own process imports no client of any source. Progress goes to the build's log, in words.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from secrets import token_hex

import msgspec

from agents.effects.child import run_child
from agents.effects.objects import open_objects
from agents.effects.surroundings import reaching_indexes
from agents.effects.weights_child import Failed, Finished, Job, Pinned, Progress, Said
from agents.effects.weights_sources import Access, FailureKind
from agents.weights.holds import mirroring
from agents.weights.store import join
from agents.weights.wanted import Wanted
from projections.stores.objects import StoreUnavailable

_CHECKOUT = Path(__file__).resolve().parents[2]
_SAY_EVERY_S = 5.0
_NAMED = ("HF_ENDPOINT", "AWS_", "STORAGE_EMULATOR_HOST", "AZURE_STORAGE_SERVICE_ENDPOINT")
"""Of the surroundings: where sources are, and what opens the blob store."""
_LATER = ": retry the deployment when it is back; it goes on where it was"

MEMORY = {
    "MALLOC_ARENA_MAX": "2",  # Else each thread keeps megabytes that it is done with.
    # Buffers of megabytes are used again, not given back and asked for, page by page, each time.
    "MALLOC_MMAP_THRESHOLD_": str(64 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(128 << 20),
}


class MirrorFailed(Exception):
    """Weights that could not be mirrored; the text names the source and the fix."""

    def __init__(self, kind: FailureKind, reason: str) -> None:
        super().__init__(reason)
        self.kind: FailureKind = kind
        self.reason = reason


class Mirroring(msgspec.Struct, frozen=True):
    """What mirroring on this machine works with."""

    store: str
    """A folder, or `s3://bucket/prefix`."""
    journals: Path
    folders: tuple[str, ...]
    """Below which `file://` may lie."""
    surroundings: Mapping[str, str]
    plane: Callable[[], Awaitable[str]]
    """Whose weights these are: what a store that several planes share tells them apart by."""

    @property
    def named(self) -> dict[str, str]:
        return {name: value for name, value in self.surroundings.items() if name.startswith(_NAMED)}

    @asynccontextmanager
    async def held(self, wanted: Wanted, on_line: Callable[[str], None]) -> AsyncIterator[Callable[[], None]]:
        """Nothing that is in the store is removed meanwhile. What it gives raises where that is not sure any more.

        Raises MirrorFailed.
        """

        def waits(why: str) -> None:
            on_line(f"weights {wanted.shown}: waits, {why}")

        try:
            plane = await self.plane()
            async with open_objects(self.store, self.named) as objects, mirroring(objects, waits) as hold:
                await join(objects, plane)
                yield hold.sure
        except StoreUnavailable as error:
            raise MirrorFailed("unavailable", f"{wanted.shown}: the blob store: {error}") from error

    async def mirror(
        self,
        wanted: Wanted,
        *,
        revision: str | None,
        secret: str | None,
        work: Path,
        on_pin: Callable[[Pinned], None],
        on_line: Callable[[str], None],
    ) -> Finished:
        """Raises MirrorFailed. Killed or cancelled, it goes on where it was when it is called again."""
        self.journals.mkdir(parents=True, exist_ok=True)
        job = Job(wanted, revision, Access(secret, self.named, self.folders), self.store, str(self.journals))
        path = work / f"weights-{token_hex(6)}.json"
        path.touch(mode=0o600)
        path.write_bytes(msgspec.json.encode(job))
        heard = _Ear(wanted, on_pin, on_line)
        try:
            child = await run_child(
                [sys.executable, "-m", "agents.effects.weights_child", path],
                env=_environment(self.surroundings, work),
                cwd=_CHECKOUT,
                on_line=heard,
            )
        finally:
            path.unlink(missing_ok=True)
        if isinstance(heard.end, Finished):
            return heard.end
        if isinstance(heard.end, Failed):
            later = _LATER if heard.end.kind == "unavailable" else ""
            raise MirrorFailed(heard.end.kind, heard.end.reason + later)
        why = next((line for line in reversed(child.lines) if line.strip()), "it said nothing")
        raise MirrorFailed("unavailable", f"{wanted.shown}: the mirror ended with code {child.code}: {why}")


class _Ear:
    """Takes the child's lines apart."""

    def __init__(self, wanted: Wanted, on_pin: Callable[[Pinned], None], on_line: Callable[[str], None]) -> None:
        self.end: Finished | Failed | None = None
        self._wanted = wanted
        self._on_pin = on_pin
        self._on_line = on_line
        self._clock = asyncio.get_running_loop().time
        self._began = self._said = self._clock()

    def __call__(self, line: str) -> None:
        try:
            said = msgspec.json.decode(line, type=Said)
        except msgspec.MsgspecError:
            self._on_line(line)  # A library printed something.
            return
        if isinstance(said, Pinned):
            self._began = self._clock()  # Until then it loaded the source's client and listed files.
            self._on_line(
                f"weights {self._wanted.shown}: pinned to {said.revision}, {said.files} files, {_size(said.bytes)}"
            )
            for note in said.notes:
                self._on_line(f"warning: weights: {note}")
            self._on_pin(said)
        elif isinstance(said, Progress):
            self._progress(said)
        else:
            self.end = said

    def _progress(self, said: Progress) -> None:
        now, moved = self._clock(), said.moved
        if now - self._said < _SAY_EVERY_S:
            return
        self._said = now
        rate = moved.bytes_read / max(now - self._began, 1e-3)
        self._on_line(
            f"weights {self._wanted.shown}: {_size(moved.bytes)} of {_size(moved.bytes_total)}, "
            f"{moved.files} of {moved.files_total} files, {_size(rate)}/s from the source"
        )


def _environment(surroundings: Mapping[str, str], work: Path) -> dict[str, str]:
    """Proxies and certificates; nothing of the operator's credentials, which the job names where they are meant."""
    return {
        **{name: value for name, value in reaching_indexes(surroundings).items() if not name.startswith("UV_")},
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": str(work / "home"),
        "TMPDIR": str(work / "tmp"),
        "PYTHONDONTWRITEBYTECODE": "1",
        **MEMORY,
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }


def _size(size: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
