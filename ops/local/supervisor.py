"""Keeps the children of the local stack running: in order, readiness-gated, restarted when they die.

One task a child. It waits for those it comes after, starts it, waits for its readiness and then for its exit,
and starts it again after a delay that doubles with every quick death. Nothing polls: exits wake through
pidfds, readiness through a pipe (or a probe's own retries). A stop runs the order backwards. A child that
dies over and over before it was ever ready ends the start with its last lines, not in a loop nobody sees.
"""

import asyncio
import os
import random
import signal
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from ops.local.child import Child, Started, start
from ops.local.child_log import ChildLog
from ops.local.leftovers import Leftover, forget, remember
from ops.local.processes import Process, identify
from ops.local.readiness import announced
from ops.local.stack_file import Phase, RoleStatus

DEATHS_BEFORE_GIVING_UP = 6
PROBE_PAUSE_S = 0.02
PROBE_PAUSE_CAP_S = 0.25


class StartFailed(RuntimeError):
    """A child could not be brought up; the message quotes what it said last."""


@dataclass(frozen=True)
class Pace:
    """How patient the supervisor is."""

    start_deadline_s: float = 120.0
    stop_deadline_s: float = 15.0
    restart_delay_s: float = 0.2
    restart_delay_cap_s: float = 15.0
    healthy_after_s: float = 30.0


def restart_delay_s(pace: Pace, deaths: int, jitter: float) -> float:
    """Wait before restart number `deaths` in a row; `jitter` in [0, 1) spreads it over its upper half."""
    delay = min(pace.restart_delay_cap_s, pace.restart_delay_s * 2.0 ** min(deaths - 1, 30))
    return delay * (0.5 + jitter / 2)


class Supervisor:
    """Runs one child table until it is told to stop."""

    def __init__(
        self,
        children: Sequence[Child],
        *,
        run_folder: Path,
        logs: dict[str, ChildLog],
        pace: Pace,
        tell: Callable[[str], None],
        changed: Callable[[tuple[RoleStatus, ...], bool], None],
    ) -> None:
        _check(children)
        self._children = {child.role: child for child in children}
        self._run, self._logs, self._pace, self._tell, self._changed = run_folder, logs, pace, tell, changed
        self._status = {role: RoleStatus(role=role) for role in self._children}
        self._was_ready = {role: asyncio.Event() for role in self._children}
        self._over = {role: asyncio.Event() for role in self._children}
        self._stopping = asyncio.Event()
        self._all_ready = asyncio.Event()
        self._failed: StartFailed | None = None

    def stop(self) -> None:
        """Asks for a graceful stop; may be called from a signal handler, and more than once."""
        self._stopping.set()

    async def run(self, on_ready: Callable[[], None]) -> None:
        """Starts, keeps, and after `stop` ends all children; raises `StartFailed` if one never came up."""
        async with asyncio.TaskGroup() as group:
            for child in self._children.values():
                group.create_task(self._keep(child), name=child.role)
            watch = group.create_task(self._watch_start(on_ready))
            for over in self._over.values():
                await over.wait()
            watch.cancel()
        if self._failed is not None:
            raise self._failed

    async def _watch_start(self, on_ready: Callable[[], None]) -> None:
        try:
            async with asyncio.timeout(self._pace.start_deadline_s):
                for ready in self._was_ready.values():
                    await ready.wait()
        except TimeoutError:
            late = [role for role, ready in self._was_ready.items() if not ready.is_set()]
            self._fail(late[0], f"{', '.join(late)} not ready after {self._pace.start_deadline_s:g} s")
            return
        self._all_ready.set()
        self._publish()
        on_ready()

    async def _keep(self, child: Child) -> None:
        try:
            deaths = 0
            for role in child.after:
                await self._unless_stopping(self._was_ready[role].wait())
            while not self._stopping.is_set():
                began_s = asyncio.get_running_loop().time()
                how = await self._run_once(child)
                lived_s = asyncio.get_running_loop().time() - began_s
                if self._stopping.is_set():
                    return
                deaths = 1 if lived_s >= self._pace.healthy_after_s else deaths + 1
                if not self._was_ready[child.role].is_set() and deaths >= DEATHS_BEFORE_GIVING_UP:
                    self._fail(child.role, f"{child.role} died {deaths} times before it was ready ({how})")
                    return
                delay_s = restart_delay_s(self._pace, deaths, random.random())
                self._tell(f"{child.role} {how}; restarting it in {delay_s:.1f} s")
                restarts = self._status[child.role].restarts + 1
                self._note(child.role, "backing off", process=None, restarts=restarts, last_exit=how)
                await self._unless_stopping(asyncio.sleep(delay_s))
        finally:
            self._note(child.role, "stopped", process=None)
            self._over[child.role].set()

    async def _run_once(self, child: Child) -> str:
        try:
            started = start(child)
        except OSError as error:
            self._logs[child.role].write(f"cannot run {child.command[0]}: {error}\n".encode())
            return f"cannot run {child.command[0]}: {error}"
        drain = self._logs[child.role].follow(started.output)
        process = identify(started.popen.pid) or Process(pid=started.popen.pid, started="gone")
        remember(self._run, child.role, Leftover(process=process, stop_signal=int(child.stop_signal)))
        self._note(child.role, "starting", process=process)
        exited = asyncio.create_task(_exit_of(started.popen.pid))
        try:
            await self._gate(child, started, exited)
            stop = asyncio.create_task(self._stop_when_told(child, started, exited))
            try:
                await exited
            finally:
                stop.cancel()
        finally:
            os.close(started.ready)
            exited.cancel()
        # What is left of its group goes with it, while the unreaped leader still keeps the group's number.
        with suppress(ProcessLookupError):
            os.killpg(started.popen.pid, signal.SIGKILL)
        code = started.popen.wait()
        drain()
        forget(self._run, child.role)
        return f"exited with {code}" if code >= 0 else f"was killed by {signal.Signals(-code).name}"

    async def _gate(self, child: Child, started: Started, exited: "asyncio.Task[None]") -> None:
        ready = asyncio.create_task(_becomes_ready(child, started.ready))
        stopping = asyncio.create_task(self._stopping.wait())
        done, _ = await asyncio.wait(
            {ready, exited, stopping},
            timeout=self._pace.start_deadline_s,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if not done and self._was_ready[child.role].is_set():
            self._tell(f"{child.role} runs but is not ready after {self._pace.start_deadline_s:g} s; killing it")
            os.killpg(started.popen.pid, signal.SIGKILL)
        elif ready in done and ready.result() and exited not in done:
            self._note(child.role, "ready")
            self._tell(f"{child.role} is ready")
            self._was_ready[child.role].set()
        for task in (ready, stopping):
            task.cancel()

    async def _stop_when_told(self, child: Child, started: Started, exited: "asyncio.Task[None]") -> None:
        await self._stopping.wait()
        for other in self._children.values():
            if child.role in other.after:
                await self._over[other.role].wait()
        self._note(child.role, "stopping")
        with suppress(ProcessLookupError):
            os.kill(started.popen.pid, child.stop_signal)
        await asyncio.wait({exited}, timeout=self._pace.stop_deadline_s)
        if not exited.done():
            self._tell(f"{child.role} did not stop in {self._pace.stop_deadline_s:g} s; killing it")
            with suppress(ProcessLookupError):
                os.killpg(started.popen.pid, signal.SIGKILL)

    async def _unless_stopping(self, other: Coroutine[Any, Any, object]) -> None:
        """Waits for the other, but no longer than until the stop is asked for."""
        tasks = {asyncio.create_task(other), asyncio.create_task(self._stopping.wait())}
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()

    def _fail(self, role: str, why: str) -> None:
        if self._failed is None and not self._stopping.is_set():
            said = self._logs[role].tail().strip()
            self._failed = StartFailed(f"{why}; it said last:\n{said}" if said else f"{why}; it said nothing")
        self._stopping.set()

    def _note(self, role: str, phase: Phase, **changes: object) -> None:
        self._status[role] = msgspec.structs.replace(
            self._status[role], phase=phase, since=datetime.now(UTC), **changes
        )
        self._publish()

    def _publish(self) -> None:
        self._changed(tuple(self._status.values()), self._all_ready.is_set())


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


def _check(children: Sequence[Child]) -> None:
    """Every child comes after rows that stand above it, so the order cannot go in circles."""
    known: set[str] = set()
    for child in children:
        if child.role in known:
            raise ValueError(f"child table: {child.role!r} stands there twice")
        if missing := [role for role in child.after if role not in known]:
            raise ValueError(f"child table: {child.role!r} comes after {missing}, which must stand above it")
        known.add(child.role)
