"""Dispatch: conflicts are decided again, repeats are recognised, lost answers are settled by the history."""

import asyncio
from random import Random

import pytest

from events.base import CommandId, EventId, NodeId, Position, ReplicaId, StreamName
from events.codec import Recorded
from events.log import Draft, Log
from events.log.memory import MemoryLog
from events.node import NodeJoined, NodeLost
from handlers.base import Refused
from handlers.clock import SystemClock
from handlers.deciders.node import DeclareNodeLost, JoinNode
from handlers.deciders.replica import ReportReady
from handlers.decisions import DECISIONS
from handlers.dispatch import Contended, Dispatch
from projections.follow import Follower
from projections.view import View
from tests.faults import Faults, FaultyLog
from tests.spec import ids

N = NodeId("n1")
STREAM = StreamName("node", "n1")


def join(command: str, cpu: int = 1000) -> JoinNode:
    return JoinNode(
        **ids(command), node_id=N, boot_id="b", host="h", cpu_millicores=cpu, memory_bytes=1, isolation="process"
    )


class Desk:
    """A dispatching process."""

    def __init__(self, log: Log) -> None:
        self.view = View(DECISIONS)
        self.dispatch = Dispatch(log, self.view, SystemClock())
        self.follower = Follower(log, (self.view,))
        self.task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Desk":
        await self.follower.catch_up()
        self.task = asyncio.create_task(self.follower.run())
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self.task is not None
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def test_a_command_makes_its_events_with_their_origin() -> None:
    log = MemoryLog()
    async with Desk(log) as desk:
        outcome = await desk.dispatch(join("c1"))
    (recorded,) = await log.read()
    assert (outcome.position, recorded.stream, recorded.meta.command_id) == (1, STREAM, "c1")
    assert isinstance(recorded.event, NodeJoined) and recorded.meta.causation_id is None


async def test_the_same_command_again_gives_the_first_position_and_no_event() -> None:
    log = MemoryLog()
    async with Desk(log) as desk:
        first = await desk.dispatch(join("c1"))
        await desk.dispatch(DeclareNodeLost(**ids("c2"), node_id=N, silent_for_s=9.0))
        again = await desk.dispatch(join("c1"))
    assert (again.position, again.events, await log.head()) == (first.position, (), 2)


async def test_a_command_that_is_already_so_answers_with_the_position_it_was_decided_at() -> None:
    log = MemoryLog()
    async with Desk(log) as desk:
        await desk.dispatch(join("c1"))
        outcome = await desk.dispatch(join("c2"))
    assert (outcome.position, outcome.events) == (1, ())


async def test_a_refusal_appends_nothing_and_names_the_field() -> None:
    log = MemoryLog()
    async with Desk(log) as desk:
        with pytest.raises(Refused) as refused:
            await desk.dispatch(join("c1", cpu=0))
    assert (refused.value.kind, refused.value.field, await log.head()) == ("invalid", "cpu_millicores", 0)


async def test_an_unknown_replica_is_not_found() -> None:
    async with Desk(MemoryLog()) as desk:
        with pytest.raises(Refused) as refused:
            await desk.dispatch(ReportReady(**ids(), replica_id=ReplicaId("r"), address="a:1", seconds=1.0))
    assert refused.value.kind == "not_found"


class Overtaken:
    """A log in which somebody else is always a little faster, for the first `times` appends."""

    stale_since = None

    def __init__(self, log: MemoryLog, times: int) -> None:
        self.log, self.times = log, times
        self.read, self.head, self.follow = log.read, log.head, log.follow

    async def append(self, stream: StreamName, drafts: tuple[Draft, ...], expected: Position) -> Position:
        if self.times:
            self.times -= 1
            other = NodeLost(node_id=N, silent_for_s=float(self.times))
            meta = drafts[0][1]
            faster = meta.__class__(
                id=EventId(f"faster{self.times}"),
                command_id=CommandId(f"faster{self.times}"),
                correlation_id=meta.correlation_id,
                causation_id=None,
                actor=meta.actor,
                at=meta.at,
            )
            await self.log.append(stream, ((other, faster),), expected)
        return await self.log.append(stream, drafts, expected)


async def test_a_conflict_is_decided_again_from_what_the_others_did() -> None:
    log = Overtaken(MemoryLog(), times=2)
    async with Desk(log) as desk:
        outcome = await desk.dispatch(join("c1"))
    assert outcome.position == 3


async def test_an_aggregate_that_never_rests_is_contended() -> None:
    async with Desk(Overtaken(MemoryLog(), times=99)) as desk:
        with pytest.raises(Contended):
            await desk.dispatch(join("c1"))


@pytest.mark.parametrize("seed", range(20))
async def test_lost_answers_and_late_arrivals_never_do_anything_twice(seed: int) -> None:
    """Eight processes send thirty commands twice each through a bad network; each took effect at most once."""
    base = MemoryLog()
    faults = Faults(request_lost=0.15, request_late=0.15, answer_lost=0.2, longest_delay_s=0.001)
    rng = Random(seed)
    logs = [FaultyLog(base, Random(rng.random()), faults) for _ in range(4)]
    commands = [join(f"c{n}", cpu=1000 + n % 5) for n in range(15)]
    desks = [Desk(log) for log in logs]

    async def send(desk: Desk, command: JoinNode) -> None:
        try:
            await desk.dispatch(command)
        except Contended:
            return  # Nobody knows whether it happened; the history will show it at most once.

    for desk in desks:
        await desk.__aenter__()
    await asyncio.gather(*(send(rng.choice(desks), command) for command in commands * 2))
    for log in logs:
        await log.settle()
    for desk in desks:
        await desk.__aexit__()
    history: tuple[Recorded, ...] = await base.read()
    seen = [recorded.meta.command_id for recorded in history]
    assert len(seen) == len(set(seen))
