"""The step of a build that brings its weights: each source pinned, mirrored, told, and what it came to as a mount."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import msgspec

from agents.builds import Pin
from agents.effects.weights_child import Pinned
from agents.effects.weights_mirroring import MirrorFailed, Mirroring
from agents.weights.manifest import BadManifest, check_mounts
from agents.weights.wanted import Wanted
from events.weights import ManifestId, Mount


class Pinning(msgspec.Struct, frozen=True):
    source: str
    mount_location: str
    revision: str
    files: int
    bytes: int


class WeightsIn(msgspec.Struct, frozen=True):
    source: str
    mount_location: str
    revision: str
    manifest_id: ManifestId
    files: int
    bytes: int
    chunks: int
    bytes_read: int
    bytes_stored: int
    seconds: float


class WeightsOut(msgspec.Struct, frozen=True):
    source: str
    mount_location: str
    kind: str
    reason: str
    seconds: float


class Brought(msgspec.Struct, frozen=True):
    mounts: tuple[Mount, ...]
    bytes_read: int
    detail: str


Tell = Callable[[Pinning | WeightsIn | WeightsOut], Coroutine[Any, Any, None]]


async def bring_weights(
    wanted: Sequence[Wanted],
    pins: Sequence[Pin],
    *,
    mirroring: Mirroring,
    secret_of: Callable[[str], Awaitable[bytes | None]],
    work: Path,
    tell: Tell,
    on_line: Callable[[str], None],
) -> Brought:
    """Raises MirrorFailed. One source after the other: each is read by several connections already."""
    try:
        check_mounts([Mount(ManifestId("0" * 64), each.mount_location) for each in wanted])
    except BadManifest as error:
        raise MirrorFailed("invalid", f"weights: {error}") from error
    revisions = {(pin.source, pin.mount_location): pin.revision for pin in pins}
    came = []
    for each in wanted:
        bringing = _Bringing(each, revisions.get((each.shown, each.mount_location)), mirroring, tell)
        came.append(await bringing.run(secret_of, work, on_line))
    return Brought(
        tuple(Mount(one.manifest_id, one.mount_location) for one in came),
        sum(one.bytes_read for one in came),
        f"{sum(one.files for one in came)} files, {sum(one.bytes for one in came)} bytes, "
        f"{sum(one.bytes_read for one in came)} read, {sum(one.bytes_stored for one in came)} new",
    )


async def _secret(wanted: Wanted, secret_of: Callable[[str], Awaitable[bytes | None]]) -> str | None:
    if wanted.secret is None:
        return None
    value = await secret_of(wanted.secret)
    if value is None:
        raise MirrorFailed("private", f"{wanted.shown}: secret {wanted.secret} is not set: set it, then push again")
    return value.decode(errors="replace")


class _Bringing:
    """One source."""

    def __init__(self, wanted: Wanted, revision: str | None, mirroring: Mirroring, tell: Tell) -> None:
        self._wanted = wanted
        self._revision = revision
        self._mirroring = mirroring
        self._tell = tell
        self._telling: asyncio.Task[None] | None = None
        self._began = asyncio.get_running_loop().time()

    async def run(
        self, secret_of: Callable[[str], Awaitable[bytes | None]], work: Path, on_line: Callable[[str], None]
    ) -> WeightsIn:
        wanted = self._wanted
        try:
            # Until it is told that they are needed: whoever clears the store afterwards reads that first.
            async with self._mirroring.held(wanted, on_line) as check:
                done = await self._mirroring.mirror(
                    wanted,
                    revision=self._revision,
                    secret=await _secret(wanted, secret_of),
                    work=work,
                    on_pin=self._pinned,
                    on_line=on_line,
                )
                await self._told()
                assert self._revision is not None, "what was mirrored was pinned before"
                check()
                fields = msgspec.structs.asdict(done.mirrored)
                came = WeightsIn(
                    wanted.shown, wanted.mount_location, self._revision, seconds=self._seconds(), **fields
                )  # fmt: skip
                await self._tell(came)
        except MirrorFailed as failed:
            await self._told()
            out = WeightsOut(wanted.shown, wanted.mount_location, failed.kind, failed.reason, self._seconds())
            await self._tell(out)
            raise
        finally:
            if self._telling is not None:
                self._telling.cancel()
        return came

    def _pinned(self, pinned: Pinned) -> None:
        if self._revision is None:  # Told at once, for who is killed after this must find the same again.
            self._revision = pinned.revision
            news = Pinning(self._wanted.shown, self._wanted.mount_location, pinned.revision, pinned.files, pinned.bytes)
            self._telling = asyncio.create_task(self._tell(news))

    async def _told(self) -> None:
        if self._telling is not None:
            await self._telling

    def _seconds(self) -> float:
        return round(asyncio.get_running_loop().time() - self._began, 3)
