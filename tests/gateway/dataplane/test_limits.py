"""How much a key may send, how long anything may take, and who goes where by affinity."""

import asyncio

import msgspec
import pytest

from events.environment import RequestLimits, RequestLimitsSet
from gateway.bucket import RateLimit
from gateway.dataplane.settings import DataPlaneSettings
from tests.gateway.dataplane.happened import KEY, MODEL, issued
from tests.gateway.dataplane.replicas import Seen, answer
from tests.gateway.dataplane.stage import QUICK, request, staged, until


def but(**changes: object) -> DataPlaneSettings:
    return msgspec.structs.replace(QUICK, **changes)


async def test_a_key_that_sends_too_much_is_told_when_to_come_again() -> None:
    async with staged(but(rate_limit=RateLimit(per_s=0.001, burst=2))) as stage:
        replica = await stage.serving()
        answers = [await stage.ask("/model-m1/predict") for _ in range(3)]
        assert [got.status for got in answers] == [200, 200, 429]
        assert [got.headers["ratelimit"].split(";")[1] for got in answers] == ["r=1", "r=0", "r=0"]
        assert {got.headers["ratelimit-policy"] for got in answers} == {'"key";q=2;w=2000'}
        assert int(answers[2].headers["retry-after"]) > 900 and "rate limit" in answers[2].error
        assert len(replica.seen) == 2
        stage.happenings.add(issued("other.secret"))
        assert (await stage.ask("/model-m1/predict", key="other.secret")).status == 200


async def test_without_a_limit_no_header_speaks_of_one() -> None:
    async with staged() as stage:
        await stage.serving()
        assert not {"ratelimit", "ratelimit-policy"} & set((await stage.ask("/model-m1/predict")).headers)


async def test_a_session_stays_with_its_replica() -> None:
    async with staged() as stage:
        for name in ("r1", "r2", "r3"):
            await stage.serving(name=name)
        homes = {}
        for session in range(12):
            more = f"X-Causeway-Session: s{session}\r\n"
            answers = [await stage.ask("/model-m1/predict", more=more) for _ in range(3)]
            (homes[session],) = {got.headers["x-causeway-replica"] for got in answers}
        assert len(set(homes.values())) > 1


async def test_prompts_that_begin_alike_go_to_the_same_replica() -> None:
    async with staged(but(prefix_affinity_bytes=40)) as stage:
        for name in ("r1", "r2", "r3"):
            await stage.serving(name=name)
        homes = set()
        for system in range(8):
            replicas = set()
            for turn in range(3):
                messages = [{"role": "system", "content": f"{system} you are"}, {"role": "user", "content": f"{turn}"}]
                body = msgspec.json.encode({"temperature": turn, "messages": messages})
                got = await stage.ask("/model-m1/v1/chat/completions", body)
                replicas.add(got.headers["x-causeway-replica"])
            assert len(replicas) == 1
            homes |= replicas
        assert len(homes) > 1
        assert (await stage.ask("/model-m1/v1/chat/completions", b"no json")).status == 200
        assert (await stage.ask("/model-m1/v1/chat/completions", b"")).status == 200


async def test_an_answer_that_falls_silent_is_cut() -> None:
    async with staged(but(idle_timeout_s=0.2)) as stage:

        async def stalls(seen: Seen, out: asyncio.StreamWriter) -> None:
            out.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n")
            await asyncio.Event().wait()

        replica = await stage.serving(stalls)
        caller = await stage.caller()
        caller.send(request("/model-m1/predict"))
        with pytest.raises(asyncio.IncompleteReadError):
            await caller.got()
        await asyncio.wait_for(replica.caller_left.wait(), 10)
        assert stage.plane.counts.cut == 1


async def test_an_answer_that_takes_its_time_but_moves_is_not_cut() -> None:
    async with staged(but(idle_timeout_s=0.3)) as stage:

        async def slow(seen: Seen, out: asyncio.StreamWriter) -> None:
            await asyncio.sleep(0.7)  # To think is not to be silent.
            out.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            for _ in range(8):
                out.write(b"1\r\na\r\n")
                await asyncio.sleep(0.1)
            out.write(b"0\r\n\r\n")

        await stage.serving(slow)
        assert (await stage.ask("/model-m1/predict")).body == b"a" * 8


async def test_a_body_that_stops_coming_is_refused() -> None:
    async with staged(but(idle_timeout_s=0.2)) as stage:
        await stage.serving()
        caller = await stage.caller()
        caller.send(request("/model-m1/predict", b"x" * 100)[:-50])
        got = await caller.got()
        assert (got.status, "request body" in got.error) == (408, True)


async def test_a_websocket_in_which_nothing_moves_is_closed() -> None:
    async with staged(but(idle_timeout_s=0.2)) as stage:

        async def accept(seen: Seen, out: asyncio.StreamWriter) -> None:
            out.write(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n")
            await asyncio.Event().wait()

        await stage.serving(accept)
        caller = await stage.caller()
        more = "connection: upgrade\r\nupgrade: websocket\r\n"
        caller.send(request("/model-m1/websocket", b"", method="GET", more=more))
        assert (await caller.got(head_only=True)).status == 101
        assert await asyncio.wait_for(caller.ended(), 10) == b""


@pytest.mark.parametrize("streams", [False, True])
async def test_a_call_may_not_take_longer_than_its_total(streams: bool) -> None:
    async with staged(but(total_deadline_s=0.3)) as stage:

        async def endless(seen: Seen, out: asyncio.StreamWriter) -> None:
            if streams:
                out.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            while True:
                await asyncio.sleep(0.05)
                if streams:
                    out.write(b"1\r\na\r\n")

        await stage.serving(endless)
        caller = await stage.caller()
        caller.send(request("/model-m1/predict"))
        if streams:
            with pytest.raises(asyncio.IncompleteReadError):
                await caller.got()
        else:
            got = await caller.got()
            assert (got.status, "more than 0.3 s" in got.error) == (504, True)


def limited(environment: str = "production", **limits: int) -> RequestLimitsSet:
    return RequestLimitsSet(model_id=MODEL, environment=environment, limits=RequestLimits(**limits))


async def test_an_environment_may_have_deadlines_of_its_own() -> None:
    async with staged() as stage:
        stage.happenings.add(limited(park_deadline_s=0))
        got = await stage.ask("/model-m1/predict")
        assert (got.status, "within 0 s" in got.error) == (503, True)
        by_name = await stage.ask("/v1/chat/completions", b'{"model":"iris","messages":[]}')
        assert (by_name.status, "within 0 s" in by_name.error) == (503, True)
        asking = asyncio.ensure_future(stage.ask("/model-m1/deployment/d1/predict"))
        await until(lambda: stage.plane.parking.count == 1)
        stage.happenings.add(limited(call_deadline_s=1))

        async def never(seen: Seen, out: asyncio.StreamWriter) -> None:
            if b"never" in seen.body:
                await asyncio.Event().wait()
            out.write(answer(seen.body))

        await stage.serving(never)
        assert (await asking).status == 200
        late = await stage.ask("/model-m1/predict", b'"never"')
        assert (late.status, "within 1 s" in late.error) == (504, True)


async def test_an_environment_may_have_prefix_affinity_of_its_own() -> None:
    async with staged() as stage:
        for name in ("r1", "r2", "r3"):
            await stage.serving(name=name)
        stage.happenings.add(limited(prefix_affinity_bytes=8))
        path, body = "/model-m1/v1/completions", b'{"prompt": "the same beginning"}'
        assert len({(await stage.ask(path, body)).headers["x-causeway-replica"] for _ in range(4)}) == 1


async def test_a_websocket_takes_a_slot_while_it_is_open() -> None:
    async with staged(concurrency=1) as stage:

        async def script(seen: Seen, out: asyncio.StreamWriter) -> None:
            if "upgrade" in seen.headers:
                out.write(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n")
                await asyncio.Event().wait()
            out.write(answer(seen.body))

        await stage.serving(script)
        socket = await stage.caller()
        more = "connection: upgrade\r\nupgrade: websocket\r\n"
        socket.send(request("/model-m1/websocket", b"", method="GET", more=more, key=KEY))
        assert (await socket.got(head_only=True)).status == 101
        asking = asyncio.ensure_future(stage.ask("/model-m1/predict"))
        await until(lambda: stage.plane.parking.count == 1)
        socket.leave()
        assert (await asking).status == 200
