"""Runs reactors: fold what is recorded, hear signals, dispatch what is due.

A reactor that starts folds the whole log in silence and only then looks at what is due: commands follow from the state,
so nothing that happened while nobody watched is missed, and nothing is done twice (ADR 0004). One dispatch at a time
per reactor. Woken by the log, by a signal or by the next due time; never by polling.
"""

import asyncio
import random
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog

from events.base import CommandId
from events.codec import Recorded
from events.log import Log, LogUnavailable
from events.signals import Signal, Signals
from events.signals.refusals import Refusals
from handlers.base import Due, Reactor, Refused
from handlers.clock import Clock
from handlers.decisions import DECISIONS
from handlers.dispatch import Contended, Dispatch
from handlers.reactors import REACTORS
from projections.base import Projection
from projections.follow import Follower
from projections.view import View

_log = structlog.get_logger()
RETRY_S = 1.0
SHORTEST_S = 0.001
"""A pause is never so short that a clock might not have moved."""


def reactor_view(reactor: Reactor[Any], now: datetime) -> View[Any]:
    """The reactor's state as a view, for the follower to feed."""

    def evolve(state: Any, recorded: Recorded) -> Any:
        return reactor.evolve(state, recorded)

    return View(Projection(f"reactor {reactor.name}", 1, Any, lambda: reactor.initial(now), evolve))


class Runner:
    """One reactor at work."""

    def __init__(
        self, reactor: Reactor[Any], view: View[Any], dispatch: Dispatch, clock: Clock, rng: random.Random
    ) -> None:
        self._reactor = reactor
        self._view = view
        self._dispatch = dispatch
        self._clock = clock
        self._rng = rng
        self._woken = asyncio.Event()
        self._answered: set[CommandId] = set()
        self._not_before: dict[CommandId, datetime] = {}
        view.on_change(self._woken.set)

    def hear(self, signal: Signal) -> None:
        self._view.state = self._reactor.hear(self._view.state, signal, self._clock.now())
        self._woken.set()

    async def run(self) -> None:
        while True:
            self._woken.clear()
            ripe, next_at = self._ask(self._clock.now())
            for due in ripe:
                await self._carry_out(due)
            if not ripe:
                await self._sleep(next_at)

    def _ask(self, now: datetime) -> tuple[Sequence[Due], datetime | None]:
        """What is to be done now, and when the next thing is."""
        if self._reactor.ripe is not None:
            return self._reactor.ripe(self._view.state, now)
        due_now = list(self._reactor.due(self._view.state))
        self._forget(due_now)
        pending = [due for due in due_now if due.command.id not in self._answered]
        return [due for due in pending if self._at(due) <= now], min(map(self._at, pending), default=None)

    def _at(self, due: Due) -> datetime:
        return max(due.at, self._not_before.get(due.command.id, due.at))

    def _forget(self, dues: Iterable[Due]) -> None:
        """Answers are remembered only while the state still calls for the command."""
        called_for = {due.command.id for due in dues}
        self._answered &= called_for
        self._not_before = {key: at for key, at in self._not_before.items() if key in called_for}

    async def _carry_out(self, due: Due) -> None:
        command = due.command
        try:
            await self._dispatch(command)
        except Refused as refused:
            _log.info("refused", reactor=self._reactor.name, command=type(command).__name__, reason=refused.reason)
        except (Contended, LogUnavailable) as error:
            _log.warning("to be tried again", reactor=self._reactor.name, error=str(error))
            pause = timedelta(seconds=RETRY_S * self._rng.uniform(0.5, 1.5))
            if self._reactor.ripe is None:
                self._not_before[command.id] = self._clock.now() + pause
            return
        if self._reactor.ripe is None:
            self._answered.add(command.id)

    async def _sleep(self, next_at: datetime | None) -> None:
        pause_s = None if next_at is None else max(SHORTEST_S, (next_at - self._clock.now()).total_seconds())
        try:
            async with asyncio.timeout(pause_s):
                await self._woken.wait()
        except TimeoutError:
            return


async def listen(signals: Signals, runners: Iterable[Runner]) -> None:
    """Every signal to every reactor."""
    known = tuple(runners)
    async for signal in signals.listen():
        for runner in known:
            runner.hear(signal)


class Control:
    """The control process: every reactor over one follower."""

    def __init__(
        self,
        log: Log,
        signals: Signals,
        clock: Clock,
        rng: random.Random,
        reactors: Sequence[Reactor[Any]] = REACTORS,
        refusals: Refusals | None = None,
        more_views: Sequence[View[Any]] = (),
    ) -> None:
        """`more_views`: fed by the same follower, for who works beside the reactors."""
        self.decisions = View(DECISIONS)
        self.caught_up = asyncio.Event()
        self.views = {reactor.name: reactor_view(reactor, clock.now()) for reactor in reactors}
        self.dispatch = Dispatch(log, self.decisions, clock, refusals)
        self._follower = Follower(log, (self.decisions, *self.views.values(), *more_views))
        self._signals = signals
        self._runners = [Runner(reactor, self.views[reactor.name], self.dispatch, clock, rng) for reactor in reactors]

    async def run(self) -> None:
        """Until cancelled; any error ends all of it."""
        await self._follower.catch_up()
        self.caught_up.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follower.run())
            group.create_task(listen(self._signals, self._runners))
            for runner in self._runners:
                group.create_task(runner.run())
