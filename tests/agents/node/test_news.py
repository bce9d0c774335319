"""News of a start: heard at once, in whatever order, and never waited for in vain."""

import asyncio
import os

import pytest

from agents.effects.news import BEGUN, LISTENS, LOADED, News, Newsroom
from events.base import ReplicaId

GENEROUS_S, SHORT_S = 30.0, 0.05


@pytest.mark.parametrize("order", [(BEGUN, LISTENS, LOADED), (BEGUN, LOADED, LISTENS)])
async def test_each_piece_of_news_is_heard_once_and_the_last_for_ever(order: tuple[bytes, ...]) -> None:
    news = News()
    assert not await news.more(SHORT_S) and not news.tells
    for letter in order[:-1]:
        os.write(news.writing, letter)
        assert await news.more(GENEROUS_S) and news.tells
        assert not await news.more(SHORT_S)
    os.write(news.writing, order[-1])
    assert await news.more(GENEROUS_S) and await news.more(SHORT_S), "there is nothing to wait for any more"
    news.handed_over()


async def test_who_waits_is_woken_by_news_and_by_the_end_of_it() -> None:
    news = News()
    waiting = asyncio.create_task(news.more(GENEROUS_S))
    await asyncio.sleep(0)
    assert not waiting.done()
    os.write(news.writing, BEGUN)
    assert await waiting
    waiting = asyncio.create_task(news.more(GENEROUS_S))
    await asyncio.sleep(0)
    news.handed_over()  # And nobody else has the other end.
    assert await waiting and await news.more(SHORT_S)


async def test_of_whom_nothing_is_heard_is_to_be_asked() -> None:
    room, replica = Newsroom(), ReplicaId("r")
    assert not await room.of(replica, GENEROUS_S), "at once: an earlier agent started it"
    first = room.expected_of(replica)
    assert not await room.of(replica, SHORT_S), "it does not tell"
    os.write(first.writing, BEGUN)
    assert await room.of(replica, GENEROUS_S) and await room.of(replica, SHORT_S), "it tells, so it would have told"
    again = room.expected_of(replica)
    assert not await room.of(replica, SHORT_S), "another start"
    room.forget(replica)
    room.forget(replica)
    assert not await room.of(replica, GENEROUS_S)
    for each in (first, again):
        each.handed_over()
