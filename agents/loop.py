"""The node agent's loop: stimulus -> state -> what is due -> deeds, whose results are the next stimuli.

It sleeps until a deed finishes, the target changes or something falls due. An exception that escapes a deed is a bug:
it ends the loop and the process; replicas run on, and the next agent finds them.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import datetime

import structlog

from agents.effects import Effects, Result
from agents.reconcile import PATIENCE, Patience, reconcile
from agents.state import Began, Deed, Finished, NodeActual, Stimulus, Surveyed, Tell, Told, evolve, kind
from events.base import NodeId
from events.log import LogUnavailable
from handlers.base import Command, Refused
from handlers.clock import Clock
from handlers.dispatch import Contended, Outcome
from projections.replica_targets import NodeTarget, ReplicaTargets
from projections.view import View

_log = structlog.get_logger()
_STORY_LENGTH = 2000

Dispatcher = Callable[[Command], Awaitable[Outcome]]


class NodeLoop:
    """`targets` must have been caught up with the log before `run`: what it does not name is ended."""

    def __init__(
        self,
        node_id: NodeId,
        incarnation: str,
        *,
        targets: View[ReplicaTargets],
        effects: Effects,
        dispatch: Dispatcher,
        clock: Clock,
        patience: Patience = PATIENCE,
    ) -> None:
        self.actual = NodeActual(node_id, incarnation)
        self.story: deque[Stimulus] = deque(maxlen=_STORY_LENGTH)
        """The last stimuli: folding them again tells how the state came about."""
        self._targets = targets
        self._effects = effects
        self._dispatch = dispatch
        self._clock = clock
        self._patience = patience
        self._wake = asyncio.Event()
        targets.on_change(self._wake.set)

    @property
    def target(self) -> NodeTarget:
        return self._targets.state.of(self.actual.node_id)

    async def run(self) -> None:
        """For ever. Cancelling leaves every replica running."""
        self._stimulate(Surveyed(await self._effects.survey(), self._clock.now()))
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._wake.clear()
                next_at = self._begin_what_is_due(tasks)
                await self._sleep_until(next_at)

    def _begin_what_is_due(self, tasks: asyncio.TaskGroup) -> datetime | None:
        now = self._clock.now()
        dues = tuple(reconcile(self.target, self.actual, self._patience))
        for due in dues:
            if due.at <= now:
                self._stimulate(Began(due.deed, now))
                tasks.create_task(self._do(due.deed), name=f"{kind(due.deed)} {due.deed.replica_id}")
        return min((due.at for due in dues if due.at > now), default=None)

    async def _sleep_until(self, at: datetime | None) -> None:
        timeout_s = None if at is None else max(0.0, (at - self._clock.now()).total_seconds())
        try:
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _do(self, deed: Deed) -> None:
        result: Result | Told
        result = await self._tell(deed) if isinstance(deed, Tell) else await self._effects.perform(deed)
        self._stimulate(Finished(deed, result, self._clock.now()))
        self._wake.set()

    async def _tell(self, tell: Tell) -> Told:
        try:
            await self._dispatch(tell.command)
        except (LogUnavailable, Contended, Refused) as error:
            _log.warning("a report is told again later", replica=tell.replica_id, fact=tell.key, why=str(error))
            return Told(acknowledged=False)
        return Told(acknowledged=True)

    def _stimulate(self, stimulus: Stimulus) -> None:
        self.story.append(stimulus)
        self.actual = evolve(self.actual, stimulus)
