"""Of several control planes on one log one delivers; another takes its place when it is silent. On virtual time."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from events.base import Actor, CommandId, CorrelationId, Position, WebhookId
from events.log.memory import MemoryLog
from events.signals import Resumed
from events.signals.memory import MemorySignals
from events.webhook import DeliveriesTaken
from gateway.webhooks.turn import BEAT_S, GRACE_S, TakingTurns
from handlers.clock import SystemClock
from handlers.deciders.deliveries import DELIVERIES, TakeDeliveries
from handlers.deciders.webhook import RegisterWebhook
from handlers.decisions import DECISIONS
from handlers.dispatch import Dispatch
from projections.follow import Follower
from projections.view import View
from projections.webhooks import TURN, WEBHOOKS
from tests.sim.loop import run_simulated
from tests.spec import given, ids

PATIENCE_S = 60.0
every_order = pytest.mark.parametrize("seed", range(10))


class Plane:
    """One control plane; `at_work` while it delivers."""

    def __init__(self, name: str, log: MemoryLog, signals: MemorySignals) -> None:
        self.log, decisions, turn, webhooks = log, View(DECISIONS), View(TURN), View(WEBHOOKS)
        self._follower = Follower(log, (decisions, turn, webhooks))
        self.dispatch = Dispatch(log, decisions, SystemClock())
        self._turns = TakingTurns(name, turn, webhooks, self.dispatch, signals, SystemClock())
        self.turn = turn
        self.at_work = False

    async def _deliver(self) -> None:
        self.at_work = True
        try:
            await asyncio.Event().wait()
        finally:
            self.at_work = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Plane"]:
        await self._follower.catch_up()
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(self._follower.run()), tasks.create_task(self._turns.run(self._deliver))]
            try:
                yield self
            finally:
                for each in running:
                    each.cancel()

    async def register(self) -> None:
        await self.dispatch(
            RegisterWebhook(
                id=CommandId("register"), actor=Actor("key:a", "api-key"), correlation_id=CorrelationId("register"),
                webhook_id=WebhookId("w"), url="https://example.com/", types=(), entities=(), after=Position(0),
                description="",
            )
        )  # fmt: skip


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def taken(log: MemoryLog) -> list[DeliveriesTaken]:
    return [each.event for each in await log.read() if isinstance(each.event, DeliveriesTaken)]


@every_order
def test_one_of_two_delivers_and_the_other_takes_its_place_when_it_is_gone(seed: int) -> None:
    async def story() -> None:
        log, signals = MemoryLog(), MemorySignals()
        async with Plane("b", log, signals).running() as second:
            async with Plane("a", log, signals).running() as first:
                await first.register()
                await eventually(lambda: first.at_work or second.at_work)
                one, other = (first, second) if first.at_work else (second, first)
                await asyncio.sleep(10 * GRACE_S)
                assert one.at_work and not other.at_work and len(await taken(log)) == 1
            await eventually(lambda: second.at_work)
        told = await taken(log)
        assert told[-1].holder == "b" and len(told) == (1 if one is second else 2)
        assert all(each.silent_for_s >= GRACE_S for each in told[1:])

    run_simulated(seed, story())


@every_order
def test_nobody_takes_what_is_not_there_and_a_restart_goes_on_at_once(seed: int) -> None:
    async def story() -> None:
        log, signals = MemoryLog(), MemorySignals()
        async with Plane("a", log, signals).running() as plane:
            await asyncio.sleep(GRACE_S)
            assert await log.head() == 0
            await plane.register()
            await eventually(lambda: plane.at_work)
        async with Plane("a", log, signals).running() as plane:
            await eventually(lambda: plane.at_work)
        assert len(await taken(log)) == 1

    run_simulated(seed, story())


@every_order
def test_who_sees_that_another_has_taken_its_place_stops_and_stands_by(seed: int) -> None:
    """It was cut off for so long that the other one could not hear it."""

    async def story() -> None:
        log, mine, theirs = MemoryLog(), MemorySignals(), MemorySignals()
        async with Plane("a", log, mine).running() as first:
            await first.register()
            await eventually(lambda: first.at_work)
            async with Plane("b", log, theirs).running() as second:
                await eventually(lambda: second.at_work and not first.at_work)

    run_simulated(seed, story())


@every_order
def test_silence_counts_only_while_one_could_have_heard(seed: int) -> None:
    async def story() -> None:
        log, signals = MemoryLog(), MemorySignals()
        async with Plane("a", log, MemorySignals()).running() as first:
            await first.register()
            await eventually(lambda: first.at_work)
            async with Plane("b", log, signals).running() as second:
                began = asyncio.get_running_loop().time()
                while (passed := asyncio.get_running_loop().time() - began) < 3 * GRACE_S and not second.at_work:
                    await signals.publish(Resumed(at=datetime.now(UTC)))
                    await asyncio.sleep(BEAT_S)
                assert passed >= GRACE_S
                await eventually(lambda: second.at_work)

    run_simulated(seed, story())


def test_deliveries_are_taken_from_who_has_them_and_from_nobody_else() -> None:
    def take(holder: str, instead_of: str) -> TakeDeliveries:
        return TakeDeliveries(**ids(), holder=holder, instead_of=instead_of, silent_for_s=0.0)

    def now(holder: str, instead_of: str) -> Any:
        return DeliveriesTaken(holder=holder, instead_of=instead_of, silent_for_s=0.0)

    given(DELIVERIES).when(take("a", "")).then(now("a", ""))
    given(DELIVERIES, now("a", "")).when(take("b", "a")).then(now("b", "a"))
    given(DELIVERIES, now("a", "")).when(take("a", "a")).unchanged()
    given(DELIVERIES, now("a", ""), now("b", "a")).when(take("c", "a")).unchanged()
