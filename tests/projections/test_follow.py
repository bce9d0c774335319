"""The follower and its views: one pass, whole decisions, waiting readers, snapshots, and loud gaps."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from events.base import Position
from events.codec import Recorded
from events.log import LogBroken
from events.log.memory import MemoryLog
from projections.base import Projection, fold
from projections.fleet import FLEET
from projections.follow import Follower
from projections.routing import ROUTING
from projections.stores.snapshots import KEEP_EVERY_S, Snapshots
from projections.view import View
from tests.agents.node.site import eventually
from tests.handlers.test_dispatch import Desk, join
from tests.spec import changed

FLEET_SNAPSHOT = f"fleet.v{FLEET.version}.snapshot"


async def filled(count: int) -> MemoryLog:
    log = MemoryLog()
    async with Desk(log) as desk:
        for n in range(count):
            await desk.dispatch(join(f"c{n}", cpu=1000 + n))
    return log


async def test_catching_up_gives_the_fold_of_the_whole_log() -> None:
    log = await filled(5)
    view = View(FLEET)
    await Follower(log, (view,)).catch_up()
    assert (view.position, view.state) == (5, fold(FLEET, await log.read()))


async def test_a_reader_waits_until_its_position_is_folded() -> None:
    log = await filled(1)
    async with Desk(log) as desk:
        view = View(FLEET)
        task = asyncio.create_task(Follower(log, (view,)).run())
        waiting = asyncio.create_task(view.reached(Position(2)))
        await view.reached(Position(1))
        assert not waiting.done()
        await desk.dispatch(join("next", cpu=7))
        await waiting
        assert view.state.nodes[join("x").node_id].cpu_millicores == 7
        task.cancel()


async def test_every_view_is_folded_before_any_reader_is_woken() -> None:
    log = await filled(3)
    first, second = View(FLEET), View(ROUTING)
    positions: list[Position] = []
    first.on_change(lambda: positions.append(second.position))
    await Follower(log, (first, second)).catch_up()
    assert positions == [Position(3)]


async def test_a_snapshot_saves_folding_and_gives_the_same_state(tmp_path: Path) -> None:
    log = await filled(4)
    folded: list[Position] = []

    def evolve(state: list[int], recorded: Recorded) -> list[int]:
        folded.append(recorded.position)
        return [*state, recorded.position]

    counting = Projection("counting", 1, list[int], list, evolve)
    await Follower(log, (View(counting),), Snapshots(tmp_path)).catch_up()
    folded.clear()
    again = View(counting)
    await Follower(log, (again,), Snapshots(tmp_path)).catch_up()
    assert (again.state, folded) == ([1, 2, 3, 4], [])
    newer = View(changed(counting, version=2))
    await Follower(log, (newer,), Snapshots(tmp_path)).catch_up()
    assert (newer.state, folded) == ([1, 2, 3, 4], [1, 2, 3, 4])


@pytest.mark.parametrize("content", [b"", b"\x00garbage", msgspec.msgpack.encode((99, [99]))])
async def test_a_bad_snapshot_or_one_ahead_of_the_log_is_ignored(tmp_path: Path, content: bytes) -> None:
    log = await filled(2)
    (tmp_path / FLEET_SNAPSHOT).write_bytes(content)
    view = View(FLEET)
    await Follower(log, (view,), Snapshots(tmp_path)).catch_up()
    assert (view.position, view.state) == (2, fold(FLEET, await log.read()))


async def test_snapshots_are_kept_while_the_view_lives_and_say_until_when_they_were_true(tmp_path: Path) -> None:
    log, view, snapshots = await filled(2), View(FLEET), Snapshots(tmp_path)
    follower = Follower(log, (view,), snapshots)
    assert snapshots.true_until((view,)) is None, "there is none"
    await follower.catch_up()
    os.utime(tmp_path / FLEET_SNAPSHOT, (0, 0))
    live = False
    following = asyncio.create_task(follower.run())
    keeping = asyncio.create_task(snapshots.keep((view,), lambda: live))
    async with Desk(log) as desk:
        for n in range(2):
            await desk.dispatch(join(f"later{n}", cpu=2000 + n))
    await view.reached(Position(4))
    await asyncio.sleep(1.2 * KEEP_EVERY_S)
    assert snapshots.true_until((view,)) == 0, "what may be old is not kept as if it were new"
    live = True
    again = View(FLEET)
    while again.position < 4:
        await asyncio.sleep(0.1)
        await Follower(log, (again,), snapshots).restore()
    assert again.state == view.state
    assert (tmp_path / FLEET_SNAPSHOT).stat().st_mode & 0o077 == 0
    os.utime(tmp_path / FLEET_SNAPSHOT, (0, 0))
    await eventually(lambda: bool(snapshots.true_until((view,))))
    for task in (keeping, following):
        task.cancel()
    await asyncio.wait({keeping, following})


class Holed:
    """A log that skips a position."""

    stale_since = None

    def __init__(self, log: MemoryLog) -> None:
        self.log = log
        self.append, self.read, self.head = log.append, log.read, log.head

    async def follow(self, after: Position) -> AsyncIterator[tuple[Recorded, ...]]:
        async for batch in self.log.follow(after):
            yield batch[1:]


async def test_a_missing_position_is_an_error_and_never_skipped() -> None:
    with pytest.raises(LogBroken, match="expected position 1"):
        await Follower(Holed(await filled(3)), (View(FLEET),)).catch_up()


async def test_a_log_that_ends_before_what_was_seen_is_an_error() -> None:
    view = View(FLEET)
    view.restore(FLEET.initial(), Position(9))
    with pytest.raises(LogBroken, match="ends at 3"):
        await Follower(await filled(3), (view,)).catch_up()
