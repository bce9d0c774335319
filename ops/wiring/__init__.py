"""Composition roots: one function a process, which puts real adapters into the ports."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

import uvloop

from ops.config import Settings
from ops.wiring.builder import serve_builder
from ops.wiring.control import serve_control
from ops.wiring.gateway import serve_gateway
from ops.wiring.node import serve_node
from ops.wiring.parts import open_log

__all__ = ["ROLES", "open_log", "run_role"]

ROLES: Mapping[str, Callable[[Settings], Awaitable[None]]] = MappingProxyType(
    {"gateway": serve_gateway, "control": serve_control, "builder": serve_builder, "node": serve_node}
)


def run_role(role: str, settings: Settings) -> None:
    """Runs the role until SIGTERM. Any error ends the process; the supervisor starts it again from the log."""
    if role == "gateway":
        uvloop.run(serve_gateway(settings))  # uvicorn ends on SIGTERM by itself, when running requests have ended.
    else:
        asyncio.run(_until_asked(ROLES[role](settings)))


async def _until_asked(serving: Awaitable[None]) -> None:
    task = asyncio.ensure_future(serving)
    asked = asyncio.Event()

    def stop() -> None:
        asked.set()
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    try:
        await task
    except asyncio.CancelledError:
        if not asked.is_set():
            raise
