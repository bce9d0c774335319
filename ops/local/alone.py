"""The nats-server of a stack that is down, by itself: to look at its log, or to put it right."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, closing

from ops.config import Settings
from ops.local import leftovers
from ops.local.child_log import ChildLog
from ops.local.child_run import ChildRun
from ops.local.nats_server import prepare
from ops.local.ports import PortClaims
from ops.local.stack import locked
from ops.local.supervisor import StartFailed

ROLE = "nats"


@asynccontextmanager
async def nats_alone(settings: Settings) -> AsyncIterator[str]:
    """Its URL; the state folder is held meanwhile. Raises AlreadyUp, StartFailed, ToolMissing."""
    run, logs = settings.folder("run"), settings.folder("logs")
    with ExitStack() as held:
        held.enter_context(locked(settings))
        leftovers.clear(run, settings.stop_deadline_s)
        claims = held.enter_context(closing(PortClaims()))
        server = prepare(settings, claims)
        log = held.enter_context(closing(ChildLog(logs / f"{ROLE}.log", settings.log_max_bytes, settings.log_files)))
        child = ChildRun(server.child, name=ROLE, run_folder=run, log=log, on_ready=lambda: None)
        try:
            await _ready(child, settings.start_deadline_s)
            yield server.address.url
        finally:
            await child.end(settings.stop_deadline_s)


async def _ready(child: ChildRun, deadline_s: float) -> None:
    waiting = asyncio.create_task(child.ready.wait())
    try:
        await asyncio.wait({waiting, child.life}, timeout=deadline_s, return_when=asyncio.FIRST_COMPLETED)
        if not child.ready.is_set():
            how = child.life.result() if child.life.done() else f"was not ready within {deadline_s:g} s"
            raise StartFailed(f"nats {how}: see logs/nats.log in the state folder")
    finally:
        waiting.cancel()
