"""One control plane delivers to webhooks, though several may work on one log: two would send everything twice.

Whose turn it is says the log, and that he is alive a signal. Who hears nothing of him for GRACE_S takes his place by an
event that names him, so of several that stand by one gets it; and he stops when he sees it. Only between the two may
something be delivered twice, as webhooks may at any time. A plane that starts again on its own machine goes on at once.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from events.base import Actor, CommandId, CorrelationId, derive
from events.signals import Delivering, Resumed, Signals
from gateway.webhooks.delivery import patiently
from handlers.clock import Clock
from handlers.deciders.deliveries import TakeDeliveries
from handlers.dispatch import Dispatch
from projections.view import View
from projections.webhooks import Turn, Webhooks

_log = structlog.get_logger()
BEAT_S, GRACE_S = 2.0, 10.0


class TakingTurns:
    """`me`: this machine. Both views must be followed."""

    def __init__(
        self, me: str, turn: View[Turn], webhooks: View[Webhooks], dispatch: Dispatch, signals: Signals, clock: Clock
    ) -> None:
        self._me, self._turn, self._webhooks = me, turn, webhooks
        self._dispatch, self._signals, self._clock = dispatch, signals, clock
        self._woken = asyncio.Event()
        self._heard = 0.0
        """When we last heard of who has the turn, or could not have: by the loop's clock."""
        for view in (turn, webhooks):
            view.on_change(self._woken.set)

    async def run(self, deliver: Callable[[], Awaitable[None]]) -> None:
        """Until cancelled: `deliver` runs while it is our turn, and is cancelled when it is not any more."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            while True:
                await self._until_ours()
                working = [tasks.create_task(_awaited(deliver)), tasks.create_task(self._beat())]
                while self._is_ours():
                    self._woken.clear()
                    await self._woken.wait()
                _log.warning("another control plane delivers to webhooks now", holder=self._turn.state.holder)
                for each in working:
                    each.cancel()
                await asyncio.wait(working)

    def _is_ours(self) -> bool:
        return self._turn.state.holder == self._me

    async def _until_ours(self) -> None:
        loop, said = asyncio.get_running_loop(), ""
        self._heard = loop.time()
        while not self._is_ours():
            self._woken.clear()
            holder = self._turn.state.holder
            silent_for_s = loop.time() - self._heard
            if self._webhooks.state and (not holder or silent_for_s >= GRACE_S):
                await self._take(holder, silent_for_s if holder else 0.0)
                self._heard = loop.time()
                continue
            if holder and holder != said:
                _log.warning("another control plane delivers to webhooks: this one stands by", holder=holder)
                said = holder
            try:
                async with asyncio.timeout(max(0.001, GRACE_S - silent_for_s) if holder else None):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def _take(self, holder: str, silent_for_s: float) -> None:
        name = derive("deliveries", self._me, self._turn.state.position, length=24)
        command = TakeDeliveries(
            id=CommandId(name),
            actor=Actor(f"control:{self._me}", "internal"),
            correlation_id=CorrelationId(name),
            holder=self._me,
            instead_of=holder,
            silent_for_s=round(silent_for_s, 3),
        )
        outcome = await patiently(lambda: self._dispatch(command))
        await self._turn.reached(outcome.position)

    async def _beat(self) -> None:
        while True:
            await self._signals.publish(Delivering(holder=self._me, at=self._clock.now()))
            await asyncio.sleep(BEAT_S)

    async def _listen(self) -> None:
        async for signal in self._signals.listen():
            of_holder = isinstance(signal, Delivering) and signal.holder == self._turn.state.holder
            if of_holder or isinstance(signal, Resumed):
                self._heard = asyncio.get_running_loop().time()


async def _awaited(work: Callable[[], Awaitable[None]]) -> None:
    await work()
