"""A log that comes later: nothing is appended before, followers lose nothing, and what they know says its age."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from events.base import Position
from events.codec import Recorded
from events.log import Log, LogUnavailable
from events.log import later as module
from events.log.later import LaterLog
from events.log.memory import MemoryLog
from tests.agents.node.site import eventually
from tests.projections.test_follow import filled


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGAIN_S", 0.001)


class Site:
    """A log that is away as often as it is told."""

    def __init__(self, log: MemoryLog, away: int) -> None:
        self.log, self.away, self.open = log, away, 0

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[Log]:
        self.away -= 1
        if self.away >= 0:
            raise LogUnavailable("away")
        self.open += 1
        yield self.log
        self.open -= 1


async def taken(later: LaterLog, after: int, count: int) -> list[tuple[int, float | None]]:
    """Positions, and how old what is known is said to be when each is seen."""
    seen = list[tuple[int, float | None]]()
    batch: tuple[Recorded, ...]
    async for batch in later.follow(Position(after)):
        seen += [(recorded.position, later.stale_since) for recorded in batch]
        if len(seen) >= count:
            break
    return seen


async def test_nothing_is_appended_or_read_before_and_everything_after() -> None:
    site = Site(await filled(3), away=1_000_000)
    later = LaterLog(site, 7.0)
    for asked in (later.head(), later.read()):
        with pytest.raises(LogUnavailable, match="has not been reached since this process began"):
            await asked
    following = asyncio.create_task(taken(later, 0, 3))
    assert later.stale_since == 7.0 and not following.done()
    site.away = 2
    seen = await following
    assert [position for position, _ in seen] == [1, 2, 3]
    assert await later.head() == 3 and len(await later.read()) == 3 and site.open == 1
    await later.close()
    assert site.open == 0


async def test_what_is_known_is_old_until_all_that_had_happened_is_folded() -> None:
    site = Site(await filled(3), away=2)
    later = LaterLog(site, 7.0)
    following = asyncio.create_task(taken(later, 1, 3))
    await eventually(lambda: site.open == 1 and later.stale_since is None)
    following.cancel()
    await asyncio.wait({following})
    at_its_end = LaterLog(Site(site.log, away=0), 7.0)
    waiting = asyncio.create_task(taken(at_its_end, 3, 1))
    await eventually(lambda: at_its_end.stale_since is None)
    waiting.cancel()
    await asyncio.wait({waiting})
    seen = await taken(again := LaterLog(Site(site.log, away=0), 7.0), 0, 3)
    assert seen[0][1] == 7.0 and all(a < b for (a, _), (b, _) in pairwise(seen))
    for each in (later, at_its_end, again):
        await each.close()


async def test_it_can_be_closed_while_it_is_away() -> None:
    site = Site(MemoryLog(), away=1_000_000)
    later = LaterLog(site, 7.0)
    await asyncio.sleep(0.01)
    await later.close()
    assert site.open == 0 and later.stale_since == 7.0
