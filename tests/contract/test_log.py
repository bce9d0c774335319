"""The promises of `events/log`, one test each. Every implementation passes them, with and without network faults.

Callers here repeat themselves when an answer did not come (`append` of tests/contract/decisions.py): that this is
always safe is the promise that matters most.
"""

import asyncio
from pathlib import Path

import pytest

from events.base import ORIGIN, Position, StreamName
from events.codec import Recorded
from events.log import Ambiguous, Conflict, Log, LogBroken, LogUnavailable
from tests.contract.decisions import (
    GENEROUS_S,
    TRIES,
    append,
    conflict,
    decision,
    flat,
    followed,
    node,
    words,
)

A, B = node("a"), node("b")


async def _read(log: Log, after: int = 0, until: int | None = None, stream: StreamName | None = None) -> list[Recorded]:
    for _ in range(TRIES):
        try:
            return list(await log.read(Position(after), None if until is None else Position(until), stream))
        except LogUnavailable:
            await asyncio.sleep(0.002)
    raise AssertionError("never readable")


async def test_an_empty_log_has_the_head_0_and_nothing_to_read(log: Log) -> None:
    assert await log.head() == ORIGIN
    assert await _read(log) == []
    assert await _read(log, stream=A) == []


async def test_what_was_appended_is_read_back_as_it_was(log: Log) -> None:
    drafts = decision("one", count=3)
    position = await append(log, A, drafts, 0)
    assert position == 3
    assert await log.head() == 3
    written = [Recorded(Position(at), A, event, meta) for at, (event, meta) in enumerate(drafts, 1)]
    assert await _read(log) == written
    assert [await _read(log, at - 1, at) for at in (1, 2, 3)] == [[each] for each in written]


async def test_the_events_of_a_decision_have_neighbouring_positions_while_others_write(log: Log) -> None:
    async def write(name: str) -> None:
        at = Position(0)
        for turn in range(5):
            at = await append(log, node(name), decision(f"{name}{turn}", count=4, of=name), at)

    await asyncio.gather(*(write(name) for name in "abcd"))
    everything = await _read(log)
    assert len(everything) == 80
    assert [one.position for one in everything] == list(range(1, 81))
    for begin in range(0, 80, 4):
        together = everything[begin : begin + 4]
        assert len({one.meta.command_id for one in together}) == 1
        assert [one.meta.index for one in together] == [0, 1, 2, 3]


async def test_a_stale_decision_is_refused_whole_and_told_where_the_aggregate_is(log: Log) -> None:
    await append(log, A, decision("first"), 0)
    await append(log, B, decision("elsewhere", of="b"), 0)
    await append(log, A, decision("second"), 1)
    assert await conflict(log, A, decision("late"), 1) == 3
    assert await conflict(log, A, decision("late, of two", count=2), 0) == 3
    assert await log.head() == 3


async def test_a_decision_from_the_future_is_refused(log: Log) -> None:
    await append(log, A, decision("first"), 0)
    assert await conflict(log, A, decision("early"), 9) == 1
    assert await conflict(log, B, decision("early too", of="b"), 9) == 0


async def test_other_aggregates_do_not_stand_in_the_way(log: Log) -> None:
    assert await append(log, A, decision("a1"), 0) == 1
    assert await append(log, B, decision("b1", of="b"), 0) == 2
    assert await append(log, A, decision("a2"), 1) == 3
    assert await append(log, StreamName("model", "a"), decision("m"), 0) == 4
    assert await append(log, StreamName("node", "a2"), decision("a2x"), 0) == 5


@pytest.mark.parametrize("count", [1, 2, 20])
async def test_a_repeat_gives_the_first_position_and_appends_nothing(log: Log, count: int) -> None:
    drafts = decision("once", count)
    first = await append(log, A, drafts, 0)
    assert await append(log, A, drafts, 0) == first
    await append(log, A, decision("meanwhile"), first)
    assert await append(log, A, drafts, 0) == first
    assert await append(log, A, drafts, first) == first
    assert await append(log, A, drafts, first + 1) == first
    assert await log.head() == first + 1


@pytest.mark.parametrize("count", [1, 2])
async def test_a_refused_decision_can_be_appended_later_with_the_same_ids(log: Log, count: int) -> None:
    await append(log, A, decision("first"), 0)
    drafts = decision("again", count)
    assert await conflict(log, A, drafts, 0) == 1
    assert await append(log, A, drafts, 1) == 1 + count
    assert await log.head() == 1 + count


async def test_of_eight_racing_writers_one_wins_each_turn_and_nothing_is_lost_or_doubled(log: Log) -> None:
    async def write(writer: int) -> None:
        done, at = 0, Position(0)
        while done < 4:
            try:
                at = await append(log, A, decision(f"w{writer} t{done}"), at)
                done += 1
            except Conflict as refused:
                at = refused.actual

    await asyncio.gather(*(write(writer) for writer in range(8)))
    said = words(await _read(log))
    assert len(said) == 32
    assert sorted(said) == sorted(f"w{writer} t{turn} 0" for writer in range(8) for turn in range(4))
    for writer in range(8):
        own = [word for word in said if word.startswith(f"w{writer} ")]
        assert own == sorted(own)


async def test_a_decision_has_at_most_1000_events_and_at_least_one(log: Log) -> None:
    assert await append(log, A, decision("large", count=1000), 0) == 1000
    with pytest.raises(ValueError, match="1 to 1000 events, not 1001"):
        await log.append(A, decision("too large", count=1001), Position(1000))
    with pytest.raises(ValueError, match="1 to 1000 events, not 0"):
        await log.append(A, (), Position(1000))
    batches = await followed(log, after=0, until=1000)
    assert [len(batch) for batch in batches] == [1000]


async def test_a_draft_that_misstates_its_place_in_the_decision_is_refused(log: Log) -> None:
    with pytest.raises(ValueError, match="but is 0 of 1"):
        await log.append(A, decision("torn", count=2)[:1], ORIGIN)
    with pytest.raises(ValueError, match="a category and an id"):
        await log.append(StreamName("node", ""), decision("nameless"), ORIGIN)
    assert await log.head() == ORIGIN


@pytest.mark.parametrize("name", ["with.dot", "with space", "ü>*", "%2E", "A/b-c_d~e:f"])
async def test_any_text_can_be_an_id(log: Log, name: str) -> None:
    stream = StreamName("secret", name)
    await append(log, StreamName("secret", name + "x"), decision("neighbour"), 0)
    assert await append(log, stream, decision("one"), 0) == 2
    assert await conflict(log, stream, decision("two"), 0) == 2
    assert await append(log, stream, decision("three", count=2), 2) == 4
    assert [one.stream for one in await _read(log, stream=stream)] == [stream] * 3
    assert [one.stream for one in await _read(log, after=1)] == [stream] * 3


async def test_reading_keeps_to_its_range_and_its_aggregate(log: Log) -> None:
    at = {"a": Position(0), "b": Position(0)}
    for turn in range(6):
        for name in "ab":
            at[name] = await append(log, node(name), decision(f"{name}{turn}", of=name), at[name])
    assert [one.position for one in await _read(log, after=3, until=7)] == [4, 5, 6, 7]
    assert [one.position for one in await _read(log, after=9)] == [10, 11, 12]
    assert [one.position for one in await _read(log, after=12)] == []
    assert [one.position for one in await _read(log, until=99)] == list(range(1, 13))
    assert [one.position for one in await _read(log, stream=A)] == [1, 3, 5, 7, 9, 11]
    assert [one.position for one in await _read(log, after=3, until=8, stream=A)] == [5, 7]
    assert [one.position for one in await _read(log, after=11, stream=A)] == []
    assert [one.position for one in await _read(log, stream=node("nobody"))] == []


@pytest.mark.parametrize("after", [0, 1, 7, 11, 12])
async def test_a_follower_may_begin_anywhere(log: Log, after: int) -> None:
    at = Position(0)
    for turn in range(12):
        at = await append(log, A, decision(f"a{turn}"), at)
    follower = asyncio.create_task(followed(log, after=after, until=13))
    await asyncio.sleep(0.01)
    await append(log, A, decision("last"), at)
    assert [one.position for one in flat(await follower)] == list(range(after + 1, 14))


async def test_a_follower_sees_everything_once_in_order_and_decisions_whole(log: Log) -> None:
    follower = asyncio.create_task(followed(log, after=0, until=90))

    async def write(name: str) -> None:
        at = Position(0)
        for turn in range(10):
            at = await append(log, node(name), decision(f"{name}{turn}", count=1 + turn % 5, of=name), at)
            await asyncio.sleep(0.001)

    await asyncio.gather(*(write(name) for name in "abc"))
    batches = await follower
    assert [one.position for one in flat(batches)] == list(range(1, 91))
    for batch in batches:
        assert batch[0].meta.index == 0
        assert batch[-1].meta.index + 1 == batch[-1].meta.count
    assert flat(batches) == await _read(log)


async def test_followers_do_not_disturb_each_other(log: Log) -> None:
    at = Position(0)
    for turn in range(5):
        at = await append(log, A, decision(f"early {turn}"), at)
    followers = [asyncio.create_task(followed(log, after=after, until=20)) for after in (0, 0, 5)]
    for turn in range(15):
        at = await append(log, A, decision(f"a{turn}"), at)
    seen = await asyncio.gather(*followers)
    assert [len(flat(batches)) for batches in seen] == [20, 20, 15]


async def test_a_follower_that_has_seen_more_than_there_is_says_that_the_log_is_broken(log: Log) -> None:
    await append(log, A, decision("one"), 0)
    with pytest.raises(LogBroken, match="ends at 1, but 2 was there before"):
        await followed(log, after=2, until=3)


async def test_a_log_in_reach_is_not_stale(log: Log) -> None:
    assert log.stale_since is None
    await append(log, A, decision("one"), 0)
    async with asyncio.timeout(GENEROUS_S):
        await followed(log, after=0, until=1)
    assert log.stale_since is None


async def test_nobody_who_repeats_after_every_fault_ever_appends_twice(log: Log, tmp_path: Path) -> None:
    at, appended = Position(0), 0
    for turn in range(60):
        drafts = decision(f"turn {turn}", count=1 + turn % 3)
        appended += len(drafts)
        for _ in range(TRIES):
            try:
                at = await log.append(A, drafts, at)
                break
            except (Ambiguous, LogUnavailable):
                continue
            except Conflict as refused:
                # A request that was late arrived between two tries: the history holds it, as a reader finds.
                at = refused.actual
    said = words(await _read(log))
    assert len(said) == len(set(said)) == appended
