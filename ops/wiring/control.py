"""The control process: reactors, the followers that keep the audit trail and snapshots to look back from, the keeper of
recent load, and the worker that delivers to webhooks."""

import asyncio
import random
from functools import partial

from events.base import Position
from events.log import Log
from events.log.jetstream_raw import JetStreamRaw
from gateway.webhooks.turn import TakingTurns
from handlers.clock import SystemClock
from handlers.notary import Notary
from handlers.record_load import record_load
from handlers.run_reactors import Control
from ops.config import Settings
from ops.local.readiness import announce
from ops.past import HISTORY
from ops.replay import LOOKED_BACK_AT
from ops.wiring.archive import open_archive
from ops.wiring.machine import node_id_of
from ops.wiring.parts import (
    heed_archive,
    open_load_history,
    open_log,
    open_refused,
    open_signals,
    remember_position,
)
from ops.wiring.subscriptions import webhook_worker
from projections.seals import SEALS
from projections.stores.audit import follow_into, follow_refused_into
from projections.stores.kept import KeptSnapshots, keep_snapshots
from projections.stores.postgres import PostgresAuditStore
from projections.stores.whereabouts import KeptWhereabouts, keep_whereabouts
from projections.view import View
from projections.webhooks import TURN, WEBHOOKS

REMEMBER_EVERY_S = 5.0


async def serve(settings: Settings) -> None:
    if settings.postgres_url is None:
        raise ValueError("no PostgreSQL address: start the stack with `causeway up`, or set CAUSEWAY_POSTGRES_URL")
    store = PostgresAuditStore(settings.postgres_url)
    try:
        await heed_archive(settings)
        async with (
            open_log(settings, may_create=True) as log,
            open_signals(settings) as signals,
            open_refused(settings) as refusals,
            open_load_history(settings) as loads,
            open_archive(settings) as archive,
            asyncio.TaskGroup() as tasks,
        ):
            seals, turn, webhooks = View(SEALS), View(TURN), View(WEBHOOKS)
            clock, more = SystemClock(), (seals, turn, webhooks)
            control = Control(log, signals, clock, random.Random(), refusals=refusals, more_views=more)
            tasks.create_task(control.run())
            tasks.create_task(follow_into(log, store))
            looked_back_from = settings.folder("snapshots") / HISTORY
            tasks.create_task(keep_snapshots(log, KeptSnapshots(looked_back_from), LOOKED_BACK_AT))
            tasks.create_task(keep_whereabouts(log, KeptWhereabouts(looked_back_from)))
            tasks.create_task(follow_refused_into(refusals, store))
            tasks.create_task(record_load(signals, loads, SystemClock()))
            tasks.create_task(_remember(settings, control))
            await control.caught_up.wait()
            turns = TakingTurns(node_id_of(settings), turn, webhooks, control.dispatch, signals, clock)
            tasks.create_task(turns.run(partial(_deliver, settings, log, control)))
            assert settings.nats_url is not None, "open_log has refused that already"
            notary = Notary(JetStreamRaw(settings.nats_url), archive, control.dispatch, seals, clock)
            tasks.create_task(notary.run())
            announce(settings.ready_fd)
    finally:
        await store.close()


async def _deliver(settings: Settings, log: Log, control: Control) -> None:
    async with webhook_worker(settings, log, control.dispatch) as worker:
        await worker.run()


async def _remember(settings: Settings, control: Control) -> None:
    """Keeps the position that the log has certainly reached, so that a shorter one is noticed at the next start."""
    remembered = Position(0)
    while True:
        if control.decisions.position > remembered:
            remembered = control.decisions.position
            await asyncio.to_thread(remember_position, settings, remembered)
        await asyncio.sleep(REMEMBER_EVERY_S)
