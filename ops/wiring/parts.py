"""What every process of the plane has: the log, the signals, and decisions folded from it."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog

from events.base import ORIGIN, Position
from events.log import Log, LogUnavailable
from events.log.jetstream import JetStreamLog
from events.log.later import LaterLog
from events.signals.core_nats import CoreNatsSignals
from events.signals.jetstream_loads import JetStreamLoads, open_loads
from events.signals.jetstream_refusals import JetStreamRefusals
from handlers.clock import Clock, SystemClock
from handlers.decisions import DECISIONS, Aggregates
from handlers.dispatch import Dispatch
from ops.config import Settings
from ops.local.files import read_or_none
from ops.wiring.archive import open_archive
from projections.follow import Follower
from projections.stores.objects import StoreUnavailable
from projections.stores.snapshots import Snapshots
from projections.stores.whole import write_whole
from projections.view import View

SEEN = "log-position"
"""In the run folder: a position that the log has certainly reached. A log that ends before it has lost something."""
AT_ONCE_S = 2.0
"""Who can begin without a server waits for it so long: one that restarts takes a second."""

_log = structlog.get_logger()


@asynccontextmanager
async def open_log(
    settings: Settings, *, may_create: bool = False, reach_within_s: float | None = None
) -> AsyncIterator[JetStreamLog]:
    """The log, checked. A role may create it, if this state folder has never seen one; who only reads, never.

    Raises LogUnavailable, LogBroken.
    """
    if settings.nats_url is None:
        raise ValueError("no NATS address: start the stack with `causeway up`, or set CAUSEWAY_NATS_URL")
    if may_create and seen_position(settings) is None:
        await heed_archive(settings)
    known = seen_position(settings)
    log = await JetStreamLog.connect(
        settings.nats_url,
        create=may_create and known is None,
        # A log that ends before what it has been seen to reach, or before its archive, has lost something.
        at_least=known or ORIGIN,
        monitor_url=settings.nats_monitor_url,
        reach_within_s=reach_within_s,
    )
    try:
        if may_create and known is None:
            remember_position(settings, ORIGIN)
        yield log
    finally:
        await log.close()


async def heed_archive(settings: Settings) -> None:
    """Takes what the archive reaches for a position that has been seen. Only where none was is the archive needed.

    Raises LogUnavailable.
    """
    known = seen_position(settings)
    try:
        async with open_archive(settings) as archive:
            archived = await archive.head()
    except StoreUnavailable as error:
        if known is None:
            raise LogUnavailable(f"whether there was a log before, its archive does not say: {error}") from error
        _log.warning("the archive could not be asked how far the log must reach", why=str(error), known=known)
        return
    if archived > (known or ORIGIN):
        remember_position(settings, archived)


def seen_position(settings: Settings) -> Position | None:
    """The last that this state folder knows the log to have reached; None: it has seen none."""
    known = read_or_none(settings.folder("run") / SEEN)
    return None if known is None else Position(int(known))


def remember_position(settings: Settings, position: Position) -> None:
    write_whole(settings.folder("run") / SEEN, str(position).encode())


@asynccontextmanager
async def open_signals(settings: Settings, *, patience_s: float = AT_ONCE_S) -> AsyncIterator[CoreNatsSignals]:
    """Goes on without a server after `patience_s`."""
    assert settings.nats_url is not None, "open_log has refused that already"
    signals = await CoreNatsSignals.connect(settings.nats_url, patience_s=patience_s)
    try:
        yield signals
    finally:
        await signals.close()


@asynccontextmanager
async def open_refused(settings: Settings) -> AsyncIterator[JetStreamRefusals]:
    assert settings.nats_url is not None, "open_log has refused that already"
    refusals = JetStreamRefusals(settings.nats_url)
    try:
        yield refusals
    finally:
        await refusals.close()


@asynccontextmanager
async def open_load_history(settings: Settings) -> AsyncIterator[JetStreamLoads]:
    """Raises LoadsUnavailable."""
    if settings.nats_url is None:
        raise ValueError("no NATS address: start the stack with `causeway up`, or set CAUSEWAY_NATS_URL")
    async with open_loads(settings.nats_url) as loads:
        yield loads


@dataclass(frozen=True)
class Parts:
    log: Log
    signals: CoreNatsSignals
    clock: Clock
    decisions: View[Aggregates]
    dispatch: Dispatch
    follower: Follower
    snapshots: Snapshots


@asynccontextmanager
async def parts(
    settings: Settings, views: Sequence[View[Any]], *, role: str, enough: Sequence[View[Any]] = ()
) -> AsyncIterator[Parts]:
    """Everything connected, and all views caught up with the log.

    `enough`: with the log away, the last that was known of these is enough to begin with; the rest follows.
    """
    snapshots = Snapshots(settings.folder("snapshots") / role)
    async with AsyncExitStack() as held:
        log = await _log_or_later(settings, held, snapshots.true_until(enough) if enough else None)
        is_away = isinstance(log, LaterLog)
        signals = await held.enter_async_context(open_signals(settings, patience_s=0.0 if is_away else AT_ONCE_S))
        refusals = await held.enter_async_context(open_refused(settings))
        decisions, clock = View(DECISIONS), SystemClock()
        follower = Follower(log, (decisions, *views), snapshots)
        if is_away:
            await follower.restore()
        else:
            await follower.catch_up()
        dispatch = Dispatch(log, decisions, clock, refusals)
        yield Parts(log, signals, clock, decisions, dispatch, follower, snapshots)


async def _log_or_later(settings: Settings, held: AsyncExitStack, known_until: float | None) -> Log:
    """`known_until`: Unix time of what there is to begin with; None: nothing."""
    if known_until is None:
        return await held.enter_async_context(open_log(settings, may_create=True))
    try:
        return await held.enter_async_context(open_log(settings, may_create=True, reach_within_s=AT_ONCE_S))
    except LogUnavailable as error:
        age_s = max(0.0, time.time() - known_until)
        _log.warning("the log is away: beginning with what was known", age_s=round(age_s, 3), why=str(error))
    later = LaterLog(lambda: open_log(settings), time.monotonic() - age_s)
    held.push_async_callback(later.close)
    return later
