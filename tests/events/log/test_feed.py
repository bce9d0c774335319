"""One reading for many: whoever is behind what is held reads the log itself, and an end is everybody's to hear."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from events.base import ORIGIN, Position
from events.codec import Recorded
from events.log import LogBroken, LogUnavailable
from events.log.feed import Feed
from events.log.memory import MemoryLog
from projections.selection import Selection, selects
from tests.histories import two_versions_of_iris


async def everything(feed: Feed, head: Position, most: int) -> list[Position]:
    seen: list[Position] = []
    while len(seen) < head:
        seen += [each.position for each in await feed.after(seen[-1] if seen else ORIGIN, most)]
    return seen


@pytest.mark.parametrize("held", [1, 5, 4096])
async def test_readers_at_different_places_each_get_all_in_order(held: int) -> None:
    history = await (await two_versions_of_iris()).read()
    log = MemoryLog()
    feed = Feed(log, held)
    early = asyncio.create_task(everything(feed, history[-1].position, 7))
    for recorded in history:
        # The same events again, one at a time, so that the feed has to follow.
        last = max((each.position for each in await log.read(stream=recorded.stream)), default=ORIGIN)
        meta = type(recorded.meta)(**{
            **{name: getattr(recorded.meta, name) for name in recorded.meta.__struct_fields__}, "index": 0, "count": 1
        })  # fmt: skip
        await log.append(recorded.stream, ((recorded.event, meta),), last)  # type: ignore[arg-type]
        await asyncio.sleep(0)
    late = await everything(feed, history[-1].position, 3)
    async with asyncio.timeout(30):
        assert await early == late == [each.position for each in history]
    assert feed.head == history[-1].position
    assert (await feed.one(Position(3))).position == 3
    await feed.close()


class Ends(MemoryLog):
    """A log that cannot be reached at first, and is found broken later."""

    away = True

    async def head(self) -> Position:
        if self.away:
            raise LogUnavailable("not now")
        return await super().head()

    async def follow(self, after: Position) -> AsyncIterator[tuple[Recorded, ...]]:
        await asyncio.sleep(0.01)
        raise LogBroken("a hole")
        yield ()


async def test_everybody_who_waits_hears_why_it_ended_and_may_ask_again() -> None:
    log = Ends()
    feed = Feed(log)
    async with asyncio.timeout(30):
        for _ in range(2):
            results = await asyncio.gather(feed.after(ORIGIN), feed.after(ORIGIN), return_exceptions=True)
            assert all(isinstance(each, LogUnavailable) for each in results)
        log.away = False
        results = await asyncio.gather(feed.after(ORIGIN), feed.after(ORIGIN), return_exceptions=True)
    assert all(isinstance(each, LogBroken) for each in results)
    await feed.close()


async def test_a_selection_is_all_of_its_conditions() -> None:
    history = await (await two_versions_of_iris()).read()

    def found(selection: Selection) -> set[str]:
        return {type(each.event).__name__ for each in history if selects(selection)(each)}

    assert found(Selection()) == {type(each.event).__name__ for each in history}
    assert found(Selection(types=("Replica?eady", "NodeJoined"))) == {"ReplicaReady", "NodeJoined"}
    one = next(each for each in history if type(each.event).__name__ == "ReplicaReady")
    assert found(Selection(types=("ReplicaReady",), entities=(one.stream.id, "nobody"))) == {"ReplicaReady"}
    assert found(Selection(types=("NodeJoined",), entities=(one.stream.id,))) == set()
    chain = Selection(correlation=one.meta.correlation_id)
    assert all(selects(chain)(each) == (each.meta.correlation_id == chain.correlation) for each in history)
