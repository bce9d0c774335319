"""Where weights come from: one port for every source, what can go wrong with it in one exception, and its factory.

A source is listed once, which pins it: a commit, or what its files are by name, size and ETag. It is read at the pin
only; whoever finds something else raises `changed`. The clients are heavy, so each is imported where it is opened.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Literal, Protocol, TypeVar

import msgspec

from agents.weights.wanted import Address, BadSource, address_of

FailureKind = Literal["missing", "private", "moved", "changed", "unavailable", "damaged", "invalid"]
RANGE_BYTES = 2 << 20
_AHEAD = 3
"""Ranges of one file that are on their way at once: with four files, 24 MiB."""
T = TypeVar("T")
_TRIES, _FIRST_PAUSE_S = 6, 0.25
_EXTRAS = {"gs": "gcs", "azure": "azure"}


class SourceFailed(Exception):
    """A source that did not give what was asked of it; the text names the source and the fix."""

    def __init__(self, kind: FailureKind, reason: str) -> None:
        super().__init__(reason)
        self.kind: FailureKind = kind
        self.reason = reason


class Stated(msgspec.Struct, frozen=True):
    """What the source itself says of a file's content."""

    algorithm: Literal["sha256", "md5", "git", "crc32c"]
    """git: SHA-1 of the file as a git object."""
    digest: str


class SourceFile(msgspec.Struct, frozen=True):
    path: str
    size: int
    identity: str
    """The same identity is the same content: `sha256:…`, or where it lies with its ETag."""
    location: str
    """What the source needs to read it."""
    etag: str | None = None
    version: str | None = None
    """By which it can be read when another has taken its place."""
    stated: Stated | None = None
    ranged: bool = True
    """Any part of it can be asked for."""


class Listing(msgspec.Struct, frozen=True):
    revision: str
    """The commit, or a digest of all names, sizes and ETags."""
    files: tuple[SourceFile, ...]
    notes: tuple[str, ...] = ()


class Source(Protocol):
    async def pin(self, revision: str | None) -> Listing:
        """At the pinned revision, or at what the address says now. Raises SourceFailed."""
        ...

    def stream(self, file: SourceFile, start: int) -> AsyncIterator[bytes]:
        """Its bytes from `start`, to the end. Raises SourceFailed."""
        ...


class Access(msgspec.Struct, frozen=True):
    """What opening a source may use."""

    secret: str | None
    """The value, not the name."""
    surroundings: Mapping[str, str]
    folders: tuple[str, ...] = ()
    """Below which `file://` may lie."""


def open_source(source: str, access: Access) -> AbstractAsyncContextManager[Source]:
    """Raises SourceFailed for what cannot be opened at all."""
    try:
        address = address_of(source)
    except BadSource as error:
        raise SourceFailed("invalid", str(error)) from None
    return _open(source, address, access)


def _open(source: str, address: Address, access: Access) -> AbstractAsyncContextManager[Source]:
    if address.scheme == "hf":
        from agents.effects.weights_hub import hub

        return hub(source, address, access)
    if address.scheme == "https":
        from agents.effects.weights_http import single_file

        return single_file(source, address.place, access)
    if address.scheme in ("s3", "r2", "cw"):
        from agents.effects.weights_s3 import bucket

        return bucket(source, address, access)
    if address.scheme == "file":
        from agents.effects.weights_folder import folder

        return folder(source, address.place, access)
    try:
        if address.scheme == "gs":
            from agents.effects.weights_gcs import gcs_bucket

            return gcs_bucket(source, address, access)
        from agents.effects.weights_azure import container

        return container(source, address, access)
    except ModuleNotFoundError as error:
        extra = f"requirements/{_EXTRAS[address.scheme]}.txt"
        raise SourceFailed(
            "invalid",
            f"{source}: {address.scheme}:// needs packages that are not installed here ({error.name}): "
            f".venv/bin/uv pip install --require-hashes -r {extra}",
        ) from error


async def pipelined(
    read: Callable[[int, int], Awaitable[bytes]], start: int, size: int, *, ahead: int = _AHEAD
) -> AsyncIterator[bytes]:
    """The bytes from `start` to `size` in order, several ranges on their way at once; each is tried again."""
    flights: list[asyncio.Task[bytes]] = []
    at = start
    try:
        while at < size or flights:
            while at < size and len(flights) < ahead:
                length = min(RANGE_BYTES, size - at)
                flights.append(asyncio.create_task(_tried(read, at, length)))
                at += length
            yield await flights[0]
            del flights[0]
    finally:
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)


async def _tried(read: Callable[[int, int], Awaitable[bytes]], start: int, length: int) -> bytes:
    return await tried(lambda: read(start, length))


async def tried(ask: Callable[[], Awaitable[T]]) -> T:
    """Again, after longer and longer pauses, while the source is unavailable."""
    pause_s = _FIRST_PAUSE_S
    for _ in range(_TRIES - 1):
        try:
            return await ask()
        except SourceFailed as failed:
            if failed.kind != "unavailable":
                raise
        await asyncio.sleep(pause_s)
        pause_s *= 2
    return await ask()


def said(error: BaseException) -> str:
    """What a library says of a connection that failed; some say nothing, then by its name. On one line."""
    return " ".join(str(error).split()) or type(error).__name__


def without_query(url: str) -> str:
    """A URL that may be shown: what is behind the question mark is often a signature."""
    return url.partition("?")[0]
