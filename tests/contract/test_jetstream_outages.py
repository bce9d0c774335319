"""A broker that dies, freezes or loses answers: nothing acknowledged is lost, nothing is made twice."""

import asyncio
from functools import partial
from pathlib import Path

import pytest

from events.base import ORIGIN, Position
from events.codec import Recorded
from events.log import Ambiguous, Conflict, LogBroken, LogUnavailable
from events.log.jetstream import JetStreamLog
from tests.contract.brokers import connect, has, until
from tests.contract.decisions import GENEROUS_S, append, decision, flat, followed, node, words
from tests.nats import NatsServer, Proxy

A = node("a")


@pytest.fixture
def log(jetstream: JetStreamLog) -> JetStreamLog:
    return jetstream


async def test_a_follower_goes_on_after_the_broker_was_killed_and_restarted(
    server: NatsServer, log: JetStreamLog
) -> None:
    seen: list[Recorded] = []

    async def follow() -> None:
        async for batch in log.follow(ORIGIN):
            seen.extend(batch)

    follower = asyncio.create_task(follow())
    at = Position(0)
    for turn in range(3):
        for count in (1, 3):
            at = await append(log, A, decision(f"{turn} {count}", count), at)
        await until(partial(has, seen, at))
        server.kill()
        await until(lambda: log.stale_since is not None)
        server.start()
        await until(lambda: log.stale_since is None)
    at = await append(log, A, decision("last"), at)
    await until(partial(has, seen, at))
    follower.cancel()
    assert [one.position for one in seen] == list(range(1, 14))
    assert tuple(seen) == await log.read()


async def test_a_follower_is_not_led_on_by_a_log_that_was_restored_without_what_it_had_read(
    server: NatsServer, log: JetStreamLog, tmp_path: Path
) -> None:
    """And is longer than before when it is reached again."""
    seen: list[Recorded] = []

    async def follow() -> None:
        async for batch in log.follow(ORIGIN):
            seen.extend(batch)

    kept = await append(log, A, decision("kept", 3), ORIGIN)
    server.stop()
    server.copy_store(tmp_path / "copy")
    server.start()
    follower = asyncio.create_task(follow())
    try:
        await append(log, A, decision("lost"), kept)
        await until(partial(has, seen, 4))
        server.stop()
        server.replace_store(tmp_path / "copy")
        with NatsServer(tmp_path / "aside") as other:  # Where the follower does not see it yet.
            other.kill()
            other.replace_store(tmp_path / "copy")
            other.start()
            restored = await connect(other, create=False)
            await append(restored, A, decision("instead", 3), kept)
            await restored.close()
            other.stop()
            server.replace_store(other.store)
        server.start()
        async with asyncio.timeout(GENEROUS_S):
            with pytest.raises(LogBroken, match="event 4 of the log is not the one that was read there"):
                await follower
        assert words(seen) == ["kept 0", "kept 1", "kept 2", "lost 0"]
    finally:
        follower.cancel()
        await asyncio.gather(follower, return_exceptions=True)


async def test_a_frozen_broker_is_noticed_and_forgiven(server: NatsServer, log: JetStreamLog) -> None:
    await append(log, A, decision("one"), 0)
    follower = asyncio.create_task(followed(log, after=0, until=2))
    await asyncio.sleep(0.2)
    assert log.stale_since is None
    server.freeze()
    try:
        await until(lambda: log.stale_since is not None)
    finally:
        server.thaw()
    await until(lambda: log.stale_since is None)
    await append(log, A, decision("two"), 1)
    assert words(flat(await follower)) == ["one 0", "two 0"]


async def test_an_append_while_the_broker_is_away_says_that_nothing_was_appended(
    server: NatsServer, log: JetStreamLog
) -> None:
    server.kill()
    await until(lambda: log.stale_since is not None)
    nobody_home = log.append(A, decision("nobody home"), ORIGIN)
    answers = await asyncio.gather(nobody_home, log.read(), log.head(), return_exceptions=True)
    assert [type(answer) for answer in answers] == [LogUnavailable] * 3
    server.start()
    assert await append(log, A, decision("later"), 0) == 1
    assert words(await log.read()) == ["later 0"]


async def test_an_append_during_a_restart_waits_for_it(server: NatsServer, log: JetStreamLog) -> None:
    server.kill()
    await until(lambda: log.stale_since is not None)
    waiting = asyncio.create_task(log.append(A, decision("patient", count=2), ORIGIN))
    await asyncio.sleep(0.1)
    await asyncio.to_thread(server.start)
    assert await waiting == 2


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("arrived", [True, False], ids=["arrived", "did not arrive"])
async def test_a_broker_killed_between_request_and_answer_never_makes_it_twice(
    server: NatsServer, count: int, arrived: bool
) -> None:
    async with Proxy(server) as proxy:
        log = await JetStreamLog.connect(proxy.url, create=True)
        first = await append(log, A, decision("before"), 0)
        proxy.mute, proxy.deaf = arrived, not arrived
        appending = asyncio.create_task(log.append(A, decision("doubtful", count), first))
        await proxy.lost.wait()
        server.kill()
        await proxy.cut()
        await asyncio.to_thread(server.start)
        await proxy.heal()
        assert await appending == first + count
        assert words(await log.read()) == ["before 0", *(f"doubtful {index}" for index in range(count))]
        await log.close()


async def test_an_answer_that_never_comes_is_ambiguous_and_asking_again_finds_it(server: NatsServer) -> None:
    async with Proxy(server) as proxy:
        log = await JetStreamLog.connect(proxy.url, create=True, patience_s=1.0)
        proxy.mute = True
        appending = asyncio.create_task(log.append(A, decision("doubtful"), ORIGIN))
        await proxy.lost.wait()
        server.kill()
        await proxy.cut()
        with pytest.raises(Ambiguous):
            await appending
        server.start()
        await proxy.heal()
        assert await append(log, A, decision("doubtful"), 0) == 1
        assert await log.head() == 1
        await log.close()


async def test_a_doubtful_append_that_lost_the_race_is_a_conflict(server: NatsServer, log: JetStreamLog) -> None:
    async with Proxy(server) as proxy:
        slow = await JetStreamLog.connect(proxy.url)
        proxy.deaf = True
        appending = asyncio.create_task(slow.append(A, decision("slow"), ORIGIN))
        await proxy.lost.wait()
        await append(log, A, decision("fast"), 0)
        await proxy.cut()
        await proxy.heal()
        with pytest.raises(Conflict) as refused:
            await appending
        assert refused.value.actual == 1
        await slow.close()


async def test_writers_and_followers_through_a_broker_that_is_killed_again_and_again(
    server: NatsServer, log: JetStreamLog
) -> None:
    async def write(name: str) -> int:
        at, total = Position(0), 0
        for turn in range(25):
            drafts = decision(f"{name} {turn}", count=1 + turn % 3, of=name)
            at = await append(log, node(name), drafts, at)
            total += len(drafts)
            await asyncio.sleep(0.02)
        return total

    async def kill() -> None:
        while not written.is_set():
            await asyncio.sleep(0.3)
            server.kill()
            await asyncio.to_thread(server.start)

    written = asyncio.Event()
    follower = asyncio.create_task(followed(log, after=0, until=3 * 49))
    killer = asyncio.create_task(kill())
    totals = await asyncio.gather(*(write(name) for name in "abc"))
    written.set()
    await killer
    assert totals == [49, 49, 49]
    batches = await follower
    assert [one.position for one in flat(batches)] == list(range(1, 148))
    assert len({one.meta.id for one in flat(batches)}) == 147
    assert all(batch[-1].meta.index + 1 == batch[-1].meta.count for batch in batches)
