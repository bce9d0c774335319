"""Keeps the children of the local stack running: in order, readiness-gated, restarted when they die.

One task a child. It waits for those it comes after, starts it, waits for its readiness and then for its exit,
and starts it again after a delay that doubles with every quick death. Nothing polls: exits wake through
pidfds, readiness through a pipe (or a probe's own retries). A stop runs the order backwards. A child that
dies over and over before it was ever ready ends the start with its last lines, not in a loop nobody sees.
A child that can drain is reloaded without a gap: the new run is ready before the old one is told to finish.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from handlers.backoff import backoff_s
from ops.local.child import Child
from ops.local.child_log import ChildLog
from ops.local.child_run import ChildRun
from ops.local.stack_file import Phase, RoleStatus

DEATHS_BEFORE_GIVING_UP = 6


class StartFailed(RuntimeError):
    """A child could not be brought up; the message quotes what it said last."""


class ReloadFailed(RuntimeError):
    """What ran before runs on; the message says why it was not replaced."""


@dataclass(frozen=True)
class Pace:
    """How patient the supervisor is."""

    start_deadline_s: float = 120.0
    stop_deadline_s: float = 15.0
    restart_delay_s: float = 0.2
    restart_delay_cap_s: float = 15.0
    healthy_after_s: float = 30.0
    drain_deadline_s: float = 3600.0


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
        self._current: dict[str, ChildRun] = {}
        self._draining: dict[str, list[ChildRun]] = {role: [] for role in self._children}
        self._runs = 0
        self._reloading = asyncio.Lock()

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

    async def reload(self, role: str, tell: Callable[[str], None]) -> None:
        """Replaces the role and its further workers (`role-2`, …), one after the other; raises `ReloadFailed`."""
        rows = [child for child in self._children.values() if child.role.partition("-")[0] == role]
        able = ", ".join(dict.fromkeys(c.role.partition("-")[0] for c in self._children.values() if c.drain_signal))
        if not rows or not all(child.drain_signal for child in rows):
            raise ReloadFailed(f"{role!r} cannot be replaced while it runs; only {able or 'nothing'} can")
        async with self._reloading:
            for child in rows:
                old, new = await self._replace(child)
                tell(f"{child.role}: process {new.pid} serves; process {old.pid} finishes what it has begun")

    async def _replace(self, child: Child) -> tuple[ChildRun, ChildRun]:
        old = self._current.get(child.role)
        if self._stopping.is_set() or old is None or not old.ready.is_set() or old.life.done():
            raise ReloadFailed(f"{child.role} does not serve at present; see `causeway status`")
        try:
            new = self._start(child)
        except OSError as error:
            raise ReloadFailed(f"{child.role}: cannot run {child.command[0]}: {error}") from error
        ready, stopping = asyncio.create_task(new.ready.wait()), asyncio.create_task(self._stopping.wait())
        await asyncio.wait(
            {ready, stopping, new.life}, timeout=self._pace.start_deadline_s, return_when=asyncio.FIRST_COMPLETED
        )
        ready.cancel()
        stopping.cancel()
        if not new.ready.is_set() or new.life.done():
            said = self._logs[child.role].tail().strip()
            await new.end(self._pace.stop_deadline_s)
            raise ReloadFailed(f"{child.role}: the new process did not become ready; it said last:\n{said}")
        self._current[child.role] = new
        self._draining[child.role].append(old)
        self._note(child.role, "ready", process=new.process)
        old.replaced.set()
        return old, new

    async def _drain(self, old: ChildRun) -> None:
        """Until it has finished what it had begun, or until the stack stops."""
        role = old.child.role
        assert old.child.drain_signal is not None
        old.signal(old.child.drain_signal)
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait(
            {old.life, stopping}, timeout=self._pace.drain_deadline_s, return_when=asyncio.FIRST_COMPLETED
        )
        stopping.cancel()
        await self._end(old)
        self._draining[role].remove(old)
        self._tell(f"{role}: process {old.pid}, which was replaced, {old.life.result()}")
        self._publish()

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
        role = child.role
        try:
            async with asyncio.TaskGroup() as finishing:
                await self._keep_running(child, finishing)
        finally:
            self._note(role, "stopped", process=None)
            self._over[role].set()

    async def _keep_running(self, child: Child, finishing: asyncio.TaskGroup) -> None:
        deaths, role = 0, child.role
        for other in child.after:
            await self._unless_stopping(self._was_ready[other].wait())
        while not self._stopping.is_set():
            began_s = asyncio.get_running_loop().time()
            how = await self._run_until_death(child, finishing)
            lived_s = asyncio.get_running_loop().time() - began_s
            if self._stopping.is_set():
                return
            deaths = 1 if lived_s >= self._pace.healthy_after_s else deaths + 1
            if not self._was_ready[role].is_set() and deaths >= DEATHS_BEFORE_GIVING_UP:
                self._fail(role, f"{role} died {deaths} times before it was ready ({how})")
                return
            delay_s = backoff_s(deaths, self._pace.restart_delay_s, self._pace.restart_delay_cap_s, random.random())
            self._tell(f"{role} {how}; restarting it in {delay_s:.1f} s")
            restarts = self._status[role].restarts + 1
            self._note(role, "backing off", process=None, restarts=restarts, last_exit=how)
            await self._unless_stopping(asyncio.sleep(delay_s))

    async def _run_until_death(self, child: Child, finishing: asyncio.TaskGroup) -> str:
        """Also through replacements: what ends it is the death of the run that serves."""
        role = child.role
        try:
            run = self._current[role] = self._start(child)
        except OSError as error:
            self._logs[role].write(f"cannot run {child.command[0]}: {error}\n".encode())
            return f"cannot run {child.command[0]}: {error}"
        self._note(role, "starting", process=run.process)
        late = asyncio.get_running_loop().call_later(self._pace.start_deadline_s, self._too_late, run)
        stopping = asyncio.create_task(self._stop_in_order(role))
        try:
            while True:
                replaced = asyncio.create_task(run.replaced.wait())
                await asyncio.wait({run.life, replaced, stopping}, return_when=asyncio.FIRST_COMPLETED)
                replaced.cancel()
                if run.replaced.is_set():
                    finishing.create_task(self._drain(run))
                    run = self._current[role]
                else:
                    await self._end(run)
                    return run.life.result()
        finally:
            late.cancel()
            stopping.cancel()

    def _start(self, child: Child) -> ChildRun:
        self._runs += 1
        role = child.role

        def ready() -> None:
            if self._current.get(role) is run:
                self._note(role, "ready")
                self._was_ready[role].set()
            self._tell(f"{role} is ready")

        living = [*self._draining[role], *([self._current[role]] if role in self._current else [])]
        taken = any(each.name == role and not each.life.done() for each in living)
        name = f"{role}~{self._runs}" if taken else role
        run = ChildRun(child, name=name, run_folder=self._run, log=self._logs[role], on_ready=ready)
        return run

    def _too_late(self, run: ChildRun) -> None:
        role = run.child.role
        if not run.ready.is_set() and self._was_ready[role].is_set() and not self._stopping.is_set():
            self._tell(f"{role} runs but is not ready after {self._pace.start_deadline_s:g} s; killing it")
            run.kill()

    async def _stop_in_order(self, role: str) -> None:
        """Returns when the stop has been asked for and those that come after this role have ended."""
        await self._stopping.wait()
        for other in self._children.values():
            if role in other.after:
                await self._over[other.role].wait()
        self._note(role, "stopping")

    async def _end(self, run: ChildRun) -> None:
        if not run.life.done() and not await run.end(self._pace.stop_deadline_s):
            self._tell(f"{run.child.role} did not stop in {self._pace.stop_deadline_s:g} s; killed it")

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
            self._status[role],
            phase=phase,
            since=datetime.now(UTC),
            **changes,
        )
        self._publish()

    def _publish(self) -> None:
        statuses = tuple(
            msgspec.structs.replace(status, draining=tuple(run.pid for run in self._draining[role]))
            for role, status in self._status.items()
        )
        self._changed(statuses, self._all_ready.is_set())


def _check(children: Sequence[Child]) -> None:
    """Every child comes after rows that stand above it, so the order cannot go in circles."""
    known: set[str] = set()
    for child in children:
        if child.role in known:
            raise ValueError(f"child table: {child.role!r} stands there twice")
        if missing := [role for role in child.after if role not in known]:
            raise ValueError(f"child table: {child.role!r} comes after {missing}, which must stand above it")
        known.add(child.role)
