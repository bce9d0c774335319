"""The log written anew from its archive: every event in its old position, checked byte by byte.

What the damaged log still has behind the archive's end goes into the archive first. The damaged stream is moved aside,
never removed, and only when all that is known of the log can be written again, or a person accepts what is lost.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import datetime
from pathlib import Path

import msgspec

from events.base import ORIGIN, Position
from events.log import LogBroken
from events.log.jetstream_checks import STREAM
from events.log.jetstream_raw import JetStreamRaw
from events.log.segments import segment_of
from ops.config import Settings
from ops.integrity import salvaged
from ops.local.alone import nats_alone
from ops.local.files import read_or_none
from ops.wiring.parts import SEEN, remember_position
from projections.stores.archive import FolderArchive


class RestoreRefused(Exception):
    """Nothing was changed; the message says why, and what to do."""


class Restored(msgspec.Struct, frozen=True):
    head: Position
    from_archive: Position
    """The archive reached so far by itself; what follows came from the damaged log."""
    lost: int
    """Events that are known to have been there and are in neither."""
    aside: Path | None
    """Where the damaged stream lies now."""


@asynccontextmanager
async def server_of(settings: Settings) -> AsyncIterator[str]:
    """The one that is named, or that of the stack, which must be down."""
    if settings.nats_url is not None:
        yield settings.nats_url
        return
    async with nats_alone(settings) as url:
        yield url


async def restore(
    settings: Settings,
    archive: FolderArchive,
    now: datetime,
    *,
    accept_loss: bool,
    tell: Callable[[str], None] = lambda line: None,
) -> Restored:
    """Raises RestoreRefused, ArchiveBroken, LogBroken, LogUnavailable, AlreadyUp, StartFailed."""
    archived, previous = _checked(archive)
    tell(f"the archive in {archive.folder} is whole up to position {archived}")
    async with server_of(settings) as url:
        known = max(await _salvage(JetStreamRaw(url), archive, archived, previous, tell), _seen(settings))
    head = archive.head()
    if head == ORIGIN:
        raise RestoreRefused(f"there is no archive in {archive.folder}: name its folder with --archive")
    if head < known and not accept_loss:
        raise RestoreRefused(
            f"positions {head + 1} to {known} were there and are in neither the archive nor the log."
            " Look for a copy of the store first; --accept-loss restores without them"
        )
    aside = None if settings.nats_url is not None else _moved_aside(settings, now)
    async with server_of(settings) as url:
        raw = JetStreamRaw(url)
        await raw.write(archive.messages())
        tell(f"written up to position {head}; reading all of it back")
        await _compare(raw, archive, head)
    remember_position(settings, head)
    return Restored(head, archived, max(0, known - head), aside)


def _checked(archive: FolderArchive) -> tuple[Position, str]:
    """Up to where, and with which hash. Raises ArchiveBroken."""
    last, previous = ORIGIN, ""
    for segment, _ in archive.chain():
        last, previous = segment.last, segment.hash
    return last, previous


async def _salvage(
    raw: JetStreamRaw, archive: FolderArchive, after: Position, previous: str, tell: Callable[[str], None]
) -> Position:
    """Archives what follows; gives the position that the damaged log says it reaches."""
    try:
        head = await raw.raw_head()
    except LogBroken:
        tell("there is no stream to take anything from")
        return ORIGIN
    rest = [message async for message in salvaged(raw, after)]
    if rest:
        await archive.keep(segment_of(rest, previous), tuple(rest))
        tell(f"positions {rest[0].position} to {rest[-1].position}, not sealed yet, were taken from the damaged log")
    return head


def _seen(settings: Settings) -> Position:
    known = read_or_none(settings.folder("run") / SEEN)
    return ORIGIN if known is None else Position(int(known))


def _moved_aside(settings: Settings, now: datetime) -> Path | None:
    """The stream's folder, out of the server's store. The server is down."""
    found = next((settings.folder("nats") / "jetstream").glob(f"*/streams/{STREAM}"), None)
    if found is None:
        return None
    aside = settings.state / f"nats-damaged-{now:%Y%m%dT%H%M%S}"
    aside.mkdir()
    return found.rename(aside / STREAM)


async def _compare(raw: JetStreamRaw, archive: FolderArchive, head: Position) -> None:
    """Raises LogBroken unless the new log says the same as the archive, position by position."""
    last = ORIGIN
    async with aclosing(raw.raw(ORIGIN, head)) as written:  # type: ignore[type-var]
        async for kept in archive.messages():
            found = await anext(written, None)
            if found is None or (found.position, found.subject, found.body) != (kept.position, kept.subject, kept.body):
                raise LogBroken(f"position {kept.position} of the new log is not what the archive has: not restored")
            last = kept.position
    if last != head or await raw.raw_head() != head:
        raise LogBroken(f"the new log ends elsewhere than the archive, at {last} of {head}: not restored")
