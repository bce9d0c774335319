"""The log written anew from its archive: every event in its old position, checked byte by byte.

What the damaged log still has behind the archive's end goes into the archive first. The damaged stream is moved aside,
never removed, and only when all that is known of the log can be written again, or a person accepts what is lost.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import cast

import msgspec

from events.base import ORIGIN, Actor, CommandId, CorrelationId, Event, EventId, Metadata, Position, derive
from events.log import LogBroken
from events.log.jetstream import outgoing
from events.log.jetstream_checks import STREAM
from events.log.jetstream_raw import JetStreamRaw
from events.log.raw import RawMessage
from events.log.segments import recorded_of, segment_of
from events.log.subjects import subject_of
from events.seal import LOG_STREAM
from events.union import AnyEvent
from handlers.base import Context
from handlers.deciders.seal import LOG, AcceptLoss
from ops.config import Settings
from ops.integrity import salvaged
from ops.local.alone import nats_alone
from ops.wiring.parts import remember_position, seen_position
from projections.stores.archive import Archive


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
    archive: Archive,
    now: datetime,
    *,
    accept_loss: bool,
    tell: Callable[[str], None] = lambda line: None,
) -> Restored:
    """Raises RestoreRefused, ArchiveBroken, LogBroken, LogUnavailable, StoreUnavailable, AlreadyUp, StartFailed."""
    archived, previous = await _checked(archive)
    tell(f"the archive in {archive.place} is whole up to position {archived}")
    async with server_of(settings) as url:
        known = max(
            await _salvage(JetStreamRaw(url), archive, archived, previous, tell), seen_position(settings) or ORIGIN
        )
    head = await archive.head()
    if head == ORIGIN:
        raise RestoreRefused(f"there is no archive in {archive.place}: name its folder or bucket with --archive")
    if head < known and not accept_loss:
        raise RestoreRefused(
            f"positions {head + 1} to {known} were there and are in neither the archive nor the log."
            " Look for a copy of the store first; --accept-loss restores without them"
        )
    aside = None if settings.nats_url is not None else _moved_aside(settings, now)
    async with server_of(settings) as url:
        raw = JetStreamRaw(url)
        loss = await _loss(archive, head, known, now)
        end = Position(head + len(loss))
        await raw.write(_messages(archive, loss))
        tell(f"written up to position {end}; reading all of it back")
        await _compare(raw, _messages(archive, loss), end)
    remember_position(settings, end)
    return Restored(end, archived, max(0, known - head), aside)


async def _loss(archive: Archive, head: Position, known: Position, now: datetime) -> tuple[RawMessage, ...]:
    """What is put on record behind the archive's end when not all that is known could be brought back."""
    if known <= head:
        return ()
    state = LOG.initial
    async for message in archive.messages():
        if message.subject.startswith(f"{subject_of(LOG_STREAM)}."):
            state = LOG.evolve(state, cast(Event, recorded_of(message).event))
    command_id = CommandId(derive("accepted loss", head + 1, known, now.isoformat(), length=24))
    accept = AcceptLoss(
        id=command_id,
        correlation_id=CorrelationId(command_id),
        actor=Actor("operator", "causeway log restore --accept-loss"),
        first=Position(head + 1),
        last=known,
    )
    (event,) = LOG.decide(accept, state, Context(now))
    meta = Metadata(
        id=EventId(derive(command_id, 0, length=24)),
        command_id=command_id,
        correlation_id=accept.correlation_id,
        causation_id=None,
        actor=accept.actor,
        at=now,
    )
    draft = (cast(AnyEvent, event), meta)
    ((subject, headers, body),) = outgoing(LOG_STREAM, (draft,), ORIGIN)
    kept = "".join(f"{name}: {text}\r\n" for name, text in headers.items() if not name.startswith("Nats-Expected"))
    return (RawMessage(Position(head + 1), subject, f"NATS/1.0\r\n{kept}\r\n", body),)


async def _messages(archive: Archive, more: tuple[RawMessage, ...]) -> AsyncIterator[RawMessage]:
    async for message in archive.messages():
        yield message
    for message in more:
        yield message


async def _checked(archive: Archive) -> tuple[Position, str]:
    """Up to where, and with which hash. Raises ArchiveBroken."""
    last, previous = ORIGIN, ""
    async for segment, _ in archive.chain():
        last, previous = segment.last, segment.hash
    return last, previous


async def _salvage(
    raw: JetStreamRaw, archive: Archive, after: Position, previous: str, tell: Callable[[str], None]
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


def _moved_aside(settings: Settings, now: datetime) -> Path | None:
    """The stream's folder, out of the server's store. The server is down."""
    found = next((settings.folder("nats") / "jetstream").glob(f"*/streams/{STREAM}"), None)
    if found is None:
        return None
    aside = settings.state / f"nats-damaged-{now:%Y%m%dT%H%M%S}"
    aside.mkdir()
    return found.rename(aside / STREAM)


async def _compare(raw: JetStreamRaw, messages: AsyncIterator[RawMessage], head: Position) -> None:
    """Raises LogBroken unless the new log says what was to be written, position by position."""
    last = ORIGIN
    async with aclosing(raw.raw(ORIGIN, head)) as written:  # type: ignore[type-var]
        async for kept in messages:
            found = await anext(written, None)
            if found is None or (found.position, found.subject, found.body) != (kept.position, kept.subject, kept.body):
                raise LogBroken(f"position {kept.position} of the new log is not what the archive has: not restored")
            last = kept.position
    if last != head or await raw.raw_head() != head:
        raise LogBroken(f"the new log ends elsewhere than the archive, at {last} of {head}: not restored")
