"""The notary: when it seals, what it seals, and what it does when something stands in its way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from events.base import ORIGIN, Position
from events.codec import Recorded
from events.log import LogBroken
from events.log.memory import MemoryLog
from events.log.raw import RawMessage
from events.log.segments import segment_of
from events.seal import LogSealed
from handlers.clock import SystemClock
from handlers.decisions import DECISIONS
from handlers.dispatch import Dispatch
from handlers.notary import Notary
from ops.integrity import verify
from projections.base import fold
from projections.follow import Follower
from projections.seals import SEALS, Seals, due
from projections.stores.archive import Archive
from projections.stores.objects import FolderObjects
from projections.view import View
from tests.histories import copied, two_versions_of_iris

NOW = datetime(2030, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


@asynccontextmanager
async def notary(log: MemoryLog, folder: Path, most: int) -> AsyncIterator[tuple[Notary, View[Seals]]]:
    decisions, seals = View(DECISIONS), View(SEALS)
    follower = Follower(log, (decisions, seals))
    await follower.catch_up()
    following = asyncio.create_task(follower.run())
    dispatch = Dispatch(log, decisions, SystemClock())
    try:
        yield Notary(log, archive_in(folder), dispatch, seals, SystemClock(), most=most), seals
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


def archive_in(folder: Path) -> Archive:
    return Archive(FolderObjects(folder), str(folder))


def seals_of(history: tuple[Recorded, ...]) -> list[LogSealed]:
    return [each.event for each in history if isinstance(each.event, LogSealed)]


async def test_segments_follow_each_other_and_end_with_whole_decisions(tmp_path: Path) -> None:
    log = await copied(await (await two_versions_of_iris()).read())
    async with notary(log, tmp_path, most=7) as (notarising, seals):
        while seals.state.whole - seals.state.last >= 7:
            await notarising.seal()
            await seals.reached(await log.head())
    history = await log.read()
    found = seals_of(history)
    assert [seal.first for seal in found] == [1, *(seal.last + 1 for seal in found[:-1])]
    assert all(history[seal.last - 1].meta.index + 1 == history[seal.last - 1].meta.count for seal in found)
    assert all(seal.last - seal.first + 1 >= 7 for seal in found)
    previous = ""
    for seal in found:
        messages = [message async for message in log.raw(Position(seal.first - 1), seal.last)]
        assert segment_of(messages, previous).hash == seal.hash
        previous = seal.hash
    assert (await verify(log, archive_in(tmp_path))).problems == ()


async def test_a_seal_is_due_by_size_by_age_and_not_for_seals_alone() -> None:
    history = await (await two_versions_of_iris()).read()
    seals = fold(SEALS, history)
    assert due(seals, NOW, len(history), HOUR) == NOW
    assert due(seals, NOW, len(history) + 1, HOUR) == history[0].meta.at + HOUR
    assert due(fold(SEALS, ()), NOW, 1, HOUR) is None

    log = await copied(history)
    last = history[-1]
    sealed = LogSealed(first=Position(1), last=last.position, hash="a", previous_hash="")
    seal = Recorded(Position(last.position + 1), last.stream, sealed, last.meta)
    assert due(fold(SEALS, (*await log.read(), seal)), NOW, 1, HOUR) is None, "else an idle log would grow for ever"
    late = Recorded(Position(last.position + 2), last.stream, sealed, last.meta)
    assert due(fold(SEALS, (*history, last, late)), NOW, 1000, HOUR) is not None, "something came before the seal"


async def test_a_notary_that_died_before_the_seal_begins_the_segment_again(tmp_path: Path) -> None:
    history = await (await two_versions_of_iris()).read()
    log = await copied(history)
    early = [message async for message in log.raw(ORIGIN, Position(5))]
    archive = archive_in(tmp_path)
    await archive.keep(segment_of(early, ""), tuple(early))  # and then it was killed
    async with notary(log, tmp_path, most=12) as (notarising, seals):
        for _ in range(2):
            await notarising.seal()
            await seals.reached(await log.head())
    assert [(each.first, each.last) for each in await archive.segments()] == [
        (seal.first, seal.last) for seal in seals_of(await log.read())
    ]
    assert (await verify(log, archive)).problems == ()


class Holed(MemoryLog):
    """Position 4 cannot be read."""

    async def raw(self, after: Position, until: Position) -> AsyncIterator[RawMessage]:
        async for message in super().raw(after, until):
            if message.position != 4:
                yield message


async def test_what_cannot_be_read_is_not_sealed(tmp_path: Path) -> None:
    whole = await copied(await (await two_versions_of_iris()).read())
    holed = Holed()
    holed.__dict__.update(whole.__dict__)
    async with notary(holed, tmp_path, most=7) as (notarising, _):
        with pytest.raises(LogBroken, match="position 4 "):
            await notarising.seal()
    assert seals_of(await holed.read()) == []
    assert await archive_in(tmp_path).segments() == []


async def test_it_seals_by_itself_when_enough_has_come(tmp_path: Path) -> None:
    log = await copied(await (await two_versions_of_iris()).read())
    async with notary(log, tmp_path, most=10) as (notarising, seals):
        running = asyncio.create_task(notarising.run())
        async with asyncio.timeout(60):
            while seals.state.whole - seals.state.last >= 10 or seals.state.last == ORIGIN:
                await seals.reached(Position(seals.position + 1))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert len(seals_of(await log.read())) >= 3
