"""One run of a child: a process from its start to its last descendant's end.

Its life is a task of its own, so that for a while two runs of one row may live side by side: the new one serves, the
old one ends what it has begun.
"""

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ops.local.child import Child, Started, start
from ops.local.child_log import ChildLog
from ops.local.leftovers import Leftover, forget, remember
from ops.local.processes import Process, identify
from ops.local.readiness import announced

PROBE_PAUSE_S = 0.02
PROBE_PAUSE_CAP_S = 0.25


class ChildRun:
    """`life` answers how it ended. Raises OSError if its command cannot be run."""

    def __init__(
        self, child: Child, *, name: str, run_folder: Path, log: ChildLog, on_ready: Callable[[], None]
    ) -> None:
        """`name`: under which it is written down while it runs."""
        self.child, self.name = child, name
        self._run_folder, self._on_ready = run_folder, on_ready
        self._started: Started = start(child)
        self._copy_rest = log.follow(self._started.output)
        self.process = identify(self.pid) or Process(pid=self.pid, started="gone")
        remember(run_folder, name, Leftover(process=self.process, stop_signal=int(child.stop_signal)))
        self.ready = asyncio.Event()
        self.replaced = asyncio.Event()
        """Another run serves in its place; it only finishes."""
        self.life = asyncio.create_task(self._live())

    @property
    def pid(self) -> int:
        return self._started.popen.pid

    def signal(self, number: signal.Signals) -> None:
        if not self.life.done():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """With all that it started in its group."""
        if not self.life.done():
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    async def end(self, deadline_s: float) -> bool:
        """Asks it to stop, and kills it at the deadline; whether it stopped by itself."""
        self.signal(self.child.stop_signal)
        await asyncio.wait({self.life}, timeout=deadline_s)
        if self.life.done():
            return True
        self.kill()
        await asyncio.wait({self.life})
        return False

    async def _live(self) -> str:
        watching = asyncio.create_task(self._watch_readiness())
        try:
            await _exit_of(self.pid)
        finally:
            watching.cancel()
            await asyncio.wait({watching})
            os.close(self._started.ready)
        # What is left of its group goes with it, while the unreaped leader still keeps the group's number.
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        code = self._started.popen.wait()
        self._copy_rest()
        forget(self._run_folder, self.name)
        return f"exited with {code}" if code >= 0 else f"was killed by {signal.Signals(-code).name}"

    async def _watch_readiness(self) -> None:
        if await _becomes_ready(self.child, self._started.ready):
            self.ready.set()
            self._on_ready()


async def _exit_of(pid: int) -> None:
    """Waits until our child with this pid has ended, without reaping it."""
    handle = os.pidfd_open(pid)
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(handle, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)


async def _becomes_ready(child: Child, pipe: int) -> bool:
    if child.ready is None:
        return await announced(pipe)
    pause_s = PROBE_PAUSE_S
    while not await child.ready():
        await asyncio.sleep(pause_s)
        pause_s = min(PROBE_PAUSE_CAP_S, pause_s * 1.5)
    return True
