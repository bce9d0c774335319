"""What the fold of decisions keeps of commands is little, and dispatch answers as if it kept every one of them."""

from collections.abc import Awaitable, Callable
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

import handlers.decisions as module
from events.base import ORIGIN, CommandId, NodeId, Position, StreamName
from events.codec import Recorded
from events.log.memory import MemoryLog
from handlers.base import Command
from handlers.deciders.node import DeclareNodeLost, JoinNode
from handlers.decisions import DECISIONS, fingerprint
from projections.base import fold
from tests.handlers.test_dispatch import Desk
from tests.spec import ids

SENT = some.lists(some.tuples(some.sampled_from(("n1", "n2")), some.integers(0, 11)), max_size=40)
"""Nodes and numbers of commands; many come again, at once or much later."""


def command(node: str, number: int) -> Command:
    """Each changes something, unless it was sent before."""
    fields = ids(f"{node}-{number}")
    if number % 2:
        return DeclareNodeLost(**fields, node_id=NodeId(node), silent_for_s=float(number))
    return JoinNode(
        **fields,
        node_id=NodeId(node),
        boot_id=f"boot {number}",
        host="h",
        cpu_millicores=1000 + number,
        memory_bytes=1,
        isolation="process",
    )


@pytest.mark.parametrize(
    "shortened",
    [fingerprint, lambda command_id: b"\0\0\0" + bytes([crc32(command_id.encode()) % 3]), lambda command_id: b"same"],
    ids=["as it is", "three different ones", "all alike"],
)
@settings(max_examples=40, deadline=None)
@given(sent=SENT)
async def test_a_repeat_is_answered_as_if_all_ids_were_kept(
    shortened: Callable[[CommandId], bytes], sent: list[tuple[str, int]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "fingerprint", shortened)
        log, known = MemoryLog(), dict[CommandId, Position]()
        async with Desk(log) as desk:
            for node, number in sent:
                each = command(node, number)
                if isinstance(each, DeclareNodeLost) and StreamName("node", node) not in desk.view.state:
                    continue
                before = await log.head()
                outcome = await desk.dispatch(each)
                if each.id in known:
                    assert (outcome.position, outcome.events, await log.head()) == (known[each.id], (), before)
                elif outcome.events:
                    known[each.id] = outcome.position
        assert {each.meta.command_id: each.position for each in await log.read()} == known


async def test_what_is_kept_of_a_command_is_four_bytes() -> None:
    log = MemoryLog()
    async with Desk(log) as desk:
        for number in range(200):
            await desk.dispatch(command("n1", number))
    history = await log.read()
    assert len({each.meta.command_id for each in history}) == 200
    (aggregate,) = fold(DECISIONS, history).values()
    assert len(aggregate.fingerprints) == 4 * 200
    assert aggregate.last_command == history[-1].meta.command_id
    assert all(aggregate.may_have_seen(each.meta.command_id) for each in history)


class Interrupted(MemoryLog):
    """The next time that an aggregate's history has been read, something happens before the answer is there."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Callable[[], Awaitable[object]] | None = None

    async def read(
        self, after: Position = ORIGIN, until: Position | None = None, stream: StreamName | None = None
    ) -> tuple[Recorded, ...]:
        found = await super().read(after, until, stream)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return found


async def test_a_command_that_another_process_carries_out_while_the_history_is_read_is_not_done_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "fingerprint", lambda command_id: b"same")
    log = Interrupted()
    async with Desk(log) as desk, Desk(log) as other:
        await desk.dispatch(command("n1", 0))
        await other.view.reached(Position(1))

        async def be_faster() -> None:
            await other.dispatch(command("n1", 2))
            await other.dispatch(command("n1", 3))
            await desk.view.reached(Position(3))

        log.meanwhile = be_faster
        outcome = await desk.dispatch(command("n1", 2))
        assert (outcome.position, outcome.events) == (2, ())
    assert [each.meta.command_id for each in await log.read()] == [command("n1", n).id for n in (0, 2, 3)]
