"""A simulated process: a life that a crash ends, a disk that it keeps, and the supervisor that starts it again.

Each has its own clock, its own faulty way to the log, and its own side of the network. What runs inside is the real
code; an exception that it does not answer for itself is a failure of the run, as it would be a crash in production.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from events.base import ORIGIN, EventId, Position
from events.log import LogUnavailable
from events.log.memory import MemoryLog
from events.log.raw import RawMessage
from events.log.segments import Segment
from handlers.base import Command
from handlers.decisions import DECISIONS
from handlers.dispatch import Dispatch, Outcome
from handlers.notary import Notary
from handlers.run_reactors import Control
from projections.base import Projection
from projections.deployments import DEPLOYMENTS, Catalogue
from projections.environments import ENVIRONMENTS, Environments
from projections.follow import Follower
from projections.seals import SEALS
from projections.stores.snapshots import Snapshots
from projections.view import View
from tests.faults import FaultyLog
from tests.sim.loop import SimClock

if TYPE_CHECKING:
    from tests.sim.world import World

RESTART_S = 1.0
SEGMENT, SEAL_OLDEST = 30, timedelta(minutes=2)
"""Small and often, so that notaries meet every fault."""


class Down(Exception):
    """The process at the other end is not there, or died before it answered."""


class DiskSnapshots(Snapshots):
    """The real snapshots but for the file: virtual time has no threads."""

    def __init__(self) -> None:
        self._content: dict[str, bytes] = {}

    async def restore(self, view: View[Any], head: Position | None) -> None:
        content = self._content.get(view.projection.name)
        if content is None:
            return
        kept = tuple[int, EventId, view.projection.state_type]  # type: ignore[name-defined]
        position, event_id, state = msgspec.msgpack.decode(content, type=kept)
        if head is None or position <= head:
            view.restore(state, Position(position), event_id)

    async def save(self, view: View[Any]) -> None:
        if view.position > ORIGIN:
            self._content[view.projection.name] = msgspec.msgpack.encode((view.position, view.event_id, view.state))


class Process:
    def __init__(self, world: "World", name: str) -> None:
        self.world, self.name = world, name
        self.dice = world.dice(name)
        self.clock = SimClock(world.loop, self.dice.uniform(-0.2, 0.2))
        self.log = FaultyLog(world.log, world.dice(f"{name}'s log"), world.log_faults)
        self.signals = world.network.side(name, self.clock)
        self.snapshots = DiskSnapshots()
        self.views: tuple[View[Any], ...] = ()
        """Of the present life, for comparison with a fold from zero."""
        self.lives = 0
        self._life: asyncio.Task[None] | None = None
        self._dying: asyncio.Task[None] | None = None
        self._requests: dict[asyncio.Task[Any], None] = {}

    @property
    def up(self) -> bool:
        return self._life is not None

    def start(self) -> None:
        if self._life is None:
            self._life = self.world.spawn(self._live(), self.name)

    async def crash(self) -> None:
        """Memory is lost, the disk is kept."""
        life, self._life = self._life, None
        self._dying = life or self._dying
        ending = [*self._requests, *([life] if life is not None else [])]
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.wait(ending)
        self.views = ()

    async def _live(self) -> None:
        if self._dying is not None:  # Two lives of one process never overlap.
            await asyncio.wait({self._dying})
        while True:
            self.lives += 1
            try:
                await self.life()
            except LogUnavailable:
                pass
            except BaseExceptionGroup as group:
                if group.split(LogUnavailable)[1] is not None:
                    raise
            await asyncio.sleep(RESTART_S)

    async def life(self) -> None:
        raise NotImplementedError(type(self).__name__)

    async def serve(self, work: Any) -> Any:
        """Does `work` for somebody outside, who sees Down if this process dies meanwhile."""
        if self._life is None:
            work.close()
            raise Down(self.name)
        task = asyncio.get_running_loop().create_task(work)
        self._requests[task] = None
        try:
            await asyncio.wait({task})
        finally:
            self._requests.pop(task, None)
            task.cancel()
        if task.cancelled():
            raise Down(self.name)
        return task.result()


class SharedArchive:
    """What both notaries write to."""

    def __init__(self) -> None:
        self.kept: dict[tuple[Position, Position], Segment] = {}

    async def keep(self, segment: Segment, messages: tuple[RawMessage, ...]) -> None:
        self.kept[segment.first, segment.last] = segment


class ReachableRaw:
    """The log's bytes, while the log is in reach."""

    def __init__(self, reach: FaultyLog, log: MemoryLog) -> None:
        self._reach, self._log = reach, log

    async def raw(self, after: Position, until: Position) -> AsyncIterator[RawMessage]:
        async for message in self._log.raw(after, until):
            if self._reach.stale_since is not None:
                raise LogUnavailable("out of reach")
            yield message

    async def raw_head(self) -> Position:
        return await self._log.head()


class ControlProcess(Process):
    async def life(self) -> None:
        seals = View(SEALS)
        control = Control(self.log, self.signals, self.clock, self.dice, more_views=(seals,))
        self.views = (control.decisions, *control.views.values(), seals)
        raw = ReachableRaw(self.log, self.world.log)
        notary = Notary(raw, self.world.archive, control.dispatch, seals, self.clock, most=SEGMENT, oldest=SEAL_OLDEST)
        async with asyncio.TaskGroup() as group:
            group.create_task(control.run())
            await control.caught_up.wait()
            group.create_task(notary.run())


class FollowingProcess(Process):
    """One that follows the log with views of its own and may dispatch."""

    folds: tuple[Projection[Any], ...] = ()

    async def life(self) -> None:
        decisions = View(DECISIONS)
        own = tuple(View(fold) for fold in self.folds)
        self.views = (decisions, *own)
        follower = Follower(self.log, self.views, self.snapshots)
        await follower.catch_up()
        self.dispatch = Dispatch(self.log, decisions, self.clock)
        async with asyncio.TaskGroup() as group:
            group.create_task(follower.run())
            group.create_task(self.work(*own))

    async def work(self, *own: View[Any]) -> None:
        raise NotImplementedError(type(self).__name__)


class ApiProcess(FollowingProcess):
    """Where people's commands arrive."""

    folds = (DEPLOYMENTS, ENVIRONMENTS)
    open = False

    async def work(self, *own: View[Any]) -> None:
        self._catalogue, self._environments = own
        self.open = True
        try:
            await asyncio.Event().wait()
        finally:
            self.open = False

    @property
    def catalogue(self) -> Catalogue:
        state: Catalogue = self._catalogue.state
        return state

    @property
    def environments(self) -> Environments:
        state: Environments = self._environments.state
        return state

    async def carry_out(self, command: Command) -> Outcome:
        if not self.open:
            raise Down(self.name)
        outcome: Outcome = await self.serve(self.dispatch(command))
        return outcome
