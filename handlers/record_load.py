"""Keeps what the gateways tell of their load, in spans of ten seconds that begin at round times.

Of two control processes both keep; the store takes the first of each span. A store that is away costs records only.
"""

import asyncio

import structlog

from events.signals import Load, Signals
from events.signals.load_history import SPAN_S, LoadHistory, LoadSpan, LoadsUnavailable
from handlers.clock import Clock
from handlers.load_digest import LoadDigest

_log = structlog.get_logger()


async def record_load(signals: Signals, history: LoadHistory, clock: Clock) -> None:
    """Until cancelled."""
    digest = LoadDigest()
    async with asyncio.TaskGroup() as group:
        group.create_task(_hear(signals, digest, clock))
        group.create_task(_keep(history, digest, clock))


async def _hear(signals: Signals, digest: LoadDigest, clock: Clock) -> None:
    async for signal in signals.listen():
        if isinstance(signal, Load):
            digest.hear(signal, clock.now().timestamp())


async def _keep(history: LoadHistory, digest: LoadDigest, clock: Clock) -> None:
    while True:
        now = clock.now().timestamp()
        ends_at = (now // SPAN_S + 1) * SPAN_S
        await asyncio.sleep(ends_at - now)
        records = digest.flush(ends_at)
        if records:
            try:
                await history.keep(LoadSpan(ends_at, records))
            except LoadsUnavailable as error:
                _log.warning("the load of ten seconds was not kept", error=str(error))
