"""Composition roots: one function a process, which puts real adapters into the ports."""

import asyncio
import signal
from collections.abc import Awaitable
from importlib import import_module

from ops.config import Settings
from ops.wiring.parts import open_log

__all__ = ["ROLES", "open_log", "run_role"]

ROLES = ("gateway", "control", "builder", "node")
"""Each is the function `serve` of the module of its name here, imported only by its own process."""


def run_role(role: str, settings: Settings) -> None:
    """Runs the role until SIGTERM. Any error ends the process; the supervisor starts it again from the log."""
    serving: Awaitable[None] = import_module(f"ops.wiring.{role}").serve(settings)
    if role == "gateway":
        import uvloop

        uvloop.run(_awaited(serving))  # uvicorn ends on SIGTERM by itself, when running requests have ended.
    else:
        asyncio.run(_until_asked(serving))


async def _awaited(serving: Awaitable[None]) -> None:
    await serving


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
