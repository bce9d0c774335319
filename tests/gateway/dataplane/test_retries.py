"""Requests whose replica fails, falls silent or leaves: none is lost, each ends."""

import asyncio

import pytest

from tests.gateway.dataplane.happened import draining, failed, ready
from tests.gateway.dataplane.replicas import ScriptedReplica, Seen, answer, echo
from tests.gateway.dataplane.stage import but, request, staged, until


async def test_a_refused_connection_is_tried_on_another_replica() -> None:
    async with staged() as stage:
        dead = await stage.replica()
        await dead.kill()
        stage.happenings.add(ready("dead", dead.address))
        await stage.serving(name="alive")
        answers = [await stage.ask("/model-m1/predict") for _ in range(6)]
        assert {got.headers["x-causeway-replica"] for got in answers} == {"alive"}
        assert max(int(got.headers["x-causeway-attempts"]) for got in answers) == 2


@pytest.mark.parametrize("status", ["502 Bad Gateway", "503 Service Unavailable", "504 Gateway Timeout"])
async def test_a_replica_that_cannot_answer_now_is_asked_again(status: str) -> None:
    async with staged() as stage:
        answers = [status, status, "200 OK"]

        async def script(seen: Seen, out: asyncio.StreamWriter) -> None:
            out.write(answer(b"{}", answers.pop(0)))

        replica = await stage.serving(script)
        got = await stage.ask("/model-m1/predict", b"the same body")
        assert (got.status, got.headers["x-causeway-attempts"]) == (200, "3")
        assert [seen.body for seen in replica.seen] == [b"the same body"] * 3


async def test_the_last_503_of_a_replica_reaches_the_caller() -> None:
    async with staged(but(attempts_max=3)) as stage:

        async def script(seen: Seen, out: asyncio.StreamWriter) -> None:
            out.write(answer(b'{"error":"busy"}', "503 Service Unavailable"))

        replica = await stage.serving(script)
        got = await stage.ask("/model-m1/predict")
        assert (got.status, got.error, len(replica.seen)) == (503, "busy", 3)


async def test_a_replica_that_stays_away_ends_in_a_clear_502() -> None:
    async with staged(but(attempts_max=3)) as stage:
        dead = await stage.replica()
        await dead.kill()
        stage.happenings.add(ready("dead", dead.address))
        got = await stage.ask("/model-m1/predict")
        assert (got.status, "cannot be reached" in got.error, "attempts: 3" in got.error) == (502, True, True)


async def test_a_replica_killed_before_it_answered_is_replaced_by_another() -> None:
    async with staged() as stage:

        async def never(seen: Seen, out: asyncio.StreamWriter) -> None:
            await asyncio.Event().wait()

        doomed = await stage.serving(never, "doomed")
        asking = asyncio.ensure_future(stage.ask("/model-m1/predict", b"precious"))
        await doomed.seen_count(1)
        await stage.serving(name="alive")
        await doomed.kill()
        got = await asking
        assert (got.body, got.headers["x-causeway-replica"]) == (b"precious", "alive")


async def test_a_request_whose_only_replica_died_is_parked_again() -> None:
    async with staged() as stage:

        async def never(seen: Seen, out: asyncio.StreamWriter) -> None:
            await asyncio.Event().wait()

        doomed = await stage.serving(never, "doomed")
        first = asyncio.ensure_future(stage.ask("/model-m1/predict", b"first"))
        await doomed.seen_count(1)
        await doomed.kill()
        stage.happenings.add(failed("doomed"))
        await until(lambda: stage.plane.parking.count == 1)
        second = asyncio.ensure_future(stage.ask("/model-m1/predict", b"second"))
        await until(lambda: stage.plane.parking.count == 2)
        replica = await stage.serving(name="alive")
        assert [got.status for got in await asyncio.gather(first, second)] == [200, 200]
        assert {seen.body for seen in replica.seen} == {b"first", b"second"}


async def test_an_idle_connection_that_the_replica_closed_costs_no_request() -> None:
    async with staged() as stage:

        async def closes(seen: Seen, out: asyncio.StreamWriter) -> None:
            # Says nothing of closing, and closes when the next request is there.
            if len(replica.seen) == 2:
                out.transport.abort()
            else:
                out.write(answer(seen.body))

        replica = await stage.serving(closes)
        for turn in range(3):
            got = await stage.ask("/model-m1/predict", b"%d" % turn)
            assert (got.body, got.headers["x-causeway-attempts"]) == (b"%d" % turn, "1")
        assert replica.connections == 2


async def test_a_body_too_large_to_be_kept_is_not_sent_twice() -> None:
    async with staged(but(replay_bytes_max=1000)) as stage:

        async def breaks(seen: Seen, out: asyncio.StreamWriter) -> None:
            out.transport.abort()

        replica = await stage.serving(breaks)
        got = await stage.ask("/model-m1/predict", b"x" * 5000)
        assert (got.status, "after part of the body" in got.error, len(replica.seen)) == (502, True, 1)


async def test_no_answer_within_the_deadline_is_a_504_and_the_replica_is_let_go() -> None:
    async with staged(but(call_deadline_s=0.05)) as stage:

        async def never(seen: Seen, out: asyncio.StreamWriter) -> None:
            await asyncio.Event().wait()

        replica = await stage.serving(never)
        got = await stage.ask("/model-m1/predict")
        assert (got.status, "within 0.05 s" in got.error) == (504, True)
        await asyncio.wait_for(replica.caller_left.wait(), 10)


@pytest.mark.parametrize(
    "nonsense",
    [
        b"this is no HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\ncontent-length: 1\n\na\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ],
)
async def test_a_replica_that_speaks_nonsense_is_not_passed_on(nonsense: bytes) -> None:
    async with staged(but(attempts_max=2)) as stage:

        async def script(seen: Seen, out: asyncio.StreamWriter) -> None:
            out.write(nonsense)

        await stage.serving(script)
        assert (await stage.ask("/model-m1/predict")).status == 502


async def test_what_a_replica_sends_beyond_its_answer_reaches_nobody() -> None:
    async with staged() as stage:

        async def script(seen: Seen, out: asyncio.StreamWriter) -> None:
            out.write(answer(b"mine") + answer(b"somebody else's"))

        await stage.serving(script)
        for _ in range(3):
            assert (await stage.ask("/model-m1/predict")).body == b"mine"


async def test_replicas_come_and_go_under_load_and_no_request_is_lost() -> None:
    async with staged() as stage:
        statuses: list[int] = []
        stop = asyncio.Event()

        async def load() -> None:
            caller = await stage.caller()
            while not stop.is_set():
                caller.send(request("/model-m1/predict", b"hello"))
                got = await caller.got()
                statuses.append(got.status if got.body == b"hello" else 0)

        async def script(seen: Seen, out: asyncio.StreamWriter) -> None:
            await asyncio.sleep(0.002)
            await echo(seen, out)

        async def drain(name: str, replica: ScriptedReplica) -> None:
            """As an agent does it: out of the table, running calls end, then the process ends."""
            stage.happenings.add(draining(name))
            before = len(replica.seen)
            await asyncio.sleep(0.02)
            assert len(replica.seen) <= before + 8
            await replica.kill()

        loading = [asyncio.ensure_future(load()) for _ in range(8)]
        running = [(f"r{n}", await stage.serving(script, f"r{n}")) for n in range(2)]
        for n in range(2, 12):
            seen = len(statuses)
            await until(lambda seen=seen: len(statuses) > seen + 20)  # type: ignore[misc]
            running.append((f"r{n}", await stage.serving(script, f"r{n}")))
            name, replica = running.pop(0)
            if n % 3:
                await drain(name, replica)
            else:
                await replica.kill()
                await asyncio.sleep(0.01)
                stage.happenings.add(failed(name))
        stop.set()
        await asyncio.gather(*loading)
        assert set(statuses) == {200}
        assert stage.plane.counts.cut == 0


async def test_a_call_that_runs_on_a_draining_replica_ends_there() -> None:
    async with staged() as stage:
        go = asyncio.Event()

        async def slow(seen: Seen, out: asyncio.StreamWriter) -> None:
            await go.wait()
            out.write(answer(b"finished"))

        replica = await stage.serving(slow)
        asking = asyncio.ensure_future(stage.ask("/model-m1/predict"))
        await replica.seen_count(1)
        stage.happenings.add(draining("r1"))
        later = asyncio.ensure_future(stage.ask("/model-m1/predict"))
        await until(lambda: stage.plane.parking.count == 1)
        go.set()
        assert (await asking).body == b"finished"
        assert not later.done()
        await stage.serving(name="r2")
        assert (await later).status == 200
