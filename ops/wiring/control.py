"""The control process: reactors, the followers that keep the audit trail and snapshots to look back from, the keeper of
recent load, and the worker that delivers to webhooks."""

import asyncio
import random

from events.base import Position
from events.log import Log
from handlers.clock import SystemClock
from handlers.dispatch import Dispatch
from handlers.record_load import record_load
from handlers.run_reactors import Control
from ops.config import Settings
from ops.local.readiness import announce
from ops.past import HISTORY
from ops.replay import LOOKED_BACK_AT
from ops.wiring.parts import open_load_history, open_log, open_refused, open_signals, remember_position
from ops.wiring.subscriptions import webhook_worker
from projections.stores.audit import follow_into, follow_refused_into
from projections.stores.kept import KeptSnapshots, keep_snapshots
from projections.stores.postgres import PostgresAuditStore

REMEMBER_EVERY_S = 5.0


async def serve(settings: Settings) -> None:
    if settings.postgres_url is None:
        raise ValueError("no PostgreSQL address: start the stack with `causeway up`, or set CAUSEWAY_POSTGRES_URL")
    store = PostgresAuditStore(settings.postgres_url)
    try:
        async with (
            open_log(settings, may_create=True) as log,
            open_signals(settings) as signals,
            open_refused(settings) as refusals,
            open_load_history(settings) as loads,
            asyncio.TaskGroup() as tasks,
        ):
            control = Control(log, signals, SystemClock(), random.Random(), refusals=refusals)
            tasks.create_task(control.run())
            tasks.create_task(follow_into(log, store))
            tasks.create_task(
                keep_snapshots(log, KeptSnapshots(settings.folder("snapshots") / HISTORY), LOOKED_BACK_AT)
            )
            tasks.create_task(follow_refused_into(refusals, store))
            tasks.create_task(record_load(signals, loads, SystemClock()))
            tasks.create_task(_remember(settings, control))
            await control.caught_up.wait()
            tasks.create_task(_deliver(settings, log, control))
            announce(settings.ready_fd)
    finally:
        await store.close()


async def _deliver(settings: Settings, log: Log, control: Control) -> None:
    async with webhook_worker(settings, log, Dispatch(log, control.decisions, SystemClock())) as worker:
        await worker.run()


async def _remember(settings: Settings, control: Control) -> None:
    """Keeps the position that the log has certainly reached, so that a shorter one is noticed at the next start."""
    remembered = Position(0)
    while True:
        if control.decisions.position > remembered:
            remembered = control.decisions.position
            await asyncio.to_thread(remember_position, settings, remembered)
        await asyncio.sleep(REMEMBER_EVERY_S)
