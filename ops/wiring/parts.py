"""What every process of the plane has: the log, the signals, and decisions folded from it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from events.base import ORIGIN, Position
from events.log.jetstream import JetStreamLog
from events.signals.core_nats import CoreNatsSignals
from events.signals.jetstream_loads import JetStreamLoads, open_loads
from handlers.clock import Clock, SystemClock
from handlers.decisions import DECISIONS, Aggregates
from handlers.dispatch import Dispatch
from ops.config import Settings
from ops.local.files import read_or_none, write_private
from projections.follow import Follower
from projections.stores.snapshots import Snapshots
from projections.view import View

SEEN = "log-position"
"""In the run folder: a position that the log has certainly reached. A log that ends before it has lost something."""


@asynccontextmanager
async def open_log(settings: Settings, *, may_create: bool = False) -> AsyncIterator[JetStreamLog]:
    """The log, checked. A role may create it, if this state folder has never seen one; who only reads, never.

    Raises LogUnavailable, LogBroken.
    """
    if settings.nats_url is None:
        raise ValueError("no NATS address: start the stack with `causeway up`, or set CAUSEWAY_NATS_URL")
    file = settings.folder("run") / SEEN
    known = read_or_none(file)
    log = await JetStreamLog.connect(
        settings.nats_url,
        create=may_create and known is None,
        at_least=ORIGIN if known is None else Position(int(known)),
        monitor_url=settings.nats_monitor_url,
    )
    try:
        if may_create and known is None:
            remember_position(settings, ORIGIN)
        yield log
    finally:
        await log.close()


def remember_position(settings: Settings, position: Position) -> None:
    write_private(settings.folder("run") / SEEN, str(position).encode())


@asynccontextmanager
async def open_signals(settings: Settings) -> AsyncIterator[CoreNatsSignals]:
    assert settings.nats_url is not None, "open_log has refused that already"
    signals = await CoreNatsSignals.connect(settings.nats_url)
    try:
        yield signals
    finally:
        await signals.close()


@asynccontextmanager
async def open_load_history(settings: Settings) -> AsyncIterator[JetStreamLoads]:
    """Raises LoadsUnavailable."""
    if settings.nats_url is None:
        raise ValueError("no NATS address: start the stack with `causeway up`, or set CAUSEWAY_NATS_URL")
    async with open_loads(settings.nats_url) as loads:
        yield loads


@dataclass(frozen=True)
class Parts:
    log: JetStreamLog
    signals: CoreNatsSignals
    clock: Clock
    decisions: View[Aggregates]
    dispatch: Dispatch
    follower: Follower


@asynccontextmanager
async def parts(settings: Settings, views: Sequence[View[Any]], *, role: str) -> AsyncIterator[Parts]:
    """Everything connected, and all views caught up with the log."""
    async with open_log(settings, may_create=True) as log, open_signals(settings) as signals:
        decisions, clock = View(DECISIONS), SystemClock()
        follower = Follower(log, (decisions, *views), Snapshots(settings.folder("snapshots") / role))
        await follower.catch_up()
        yield Parts(log, signals, clock, decisions, Dispatch(log, decisions, clock), follower)
