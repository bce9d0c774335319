"""Requests that come before their replica: each waits its turn, and each ends."""

import asyncio
import contextlib

from events.base import BuildId
from events.build import BuildFailed
from events.environment import EnvironmentCreated
from events.model import DeploymentDeactivated
from events.scaling import AutoscalingSettings
from tests.gateway.dataplane.happened import KEY, MODEL, ONE, TWO, promoted, pushed, ready
from tests.gateway.dataplane.replicas import Seen, answer
from tests.gateway.dataplane.stage import Got, Stage, but, request, staged, until


async def parked(stage: Stage, count: int) -> list["asyncio.Task[Got]"]:
    """Requests with the bodies 0, 1, 2 …, parked in this order."""
    asking = []
    for turn in range(count):
        asking.append(asyncio.ensure_future(stage.ask("/model-m1/predict", b"%d" % turn)))
        await until(lambda: stage.plane.parking.count == len(asking))
    return asking


async def test_parked_requests_are_answered_once_a_replica_is_ready() -> None:
    async with staged() as stage:
        asking = await parked(stage, 20)
        replica = await stage.serving()
        answers = await asyncio.gather(*asking)
        assert [got.body for got in answers] == [b"%d" % turn for turn in range(20)]
        # Sent in this order on as many connections; which of them the replica reads first is its own affair.
        assert sorted(int(seen.body) for seen in replica.seen) == list(range(20))
        assert answers[7].headers["x-causeway-queue-position"] == "7"
        assert int(answers[0].headers["x-causeway-parked-ms"]) > 0


async def test_two_hundred_requests_that_wait_at_once_are_all_answered() -> None:
    async with staged() as stage:
        asking = [asyncio.ensure_future(stage.ask("/model-m1/predict", b"%d" % turn)) for turn in range(200)]
        await until(lambda: stage.plane.parking.count == 200)
        replica = await stage.serving()
        answers = await asyncio.gather(*asking)
        assert {got.status for got in answers} == {200}
        assert len(replica.seen) == 200
        assert replica.connections <= 200


async def test_a_parked_request_follows_its_environment_to_another_deployment() -> None:
    async with staged() as stage:
        asking = await parked(stage, 3)
        replica = await stage.replica()
        stage.happenings.add(pushed(TWO), promoted(TWO))
        assert stage.plane.loads.deployments[TWO].parked == 3
        stage.happenings.add(ready("r2", replica.address, TWO))
        assert {got.headers["x-causeway-deployment"] for got in await asyncio.gather(*asking)} == {TWO}


async def test_a_parked_request_is_told_at_once_that_nothing_will_come() -> None:
    async with staged() as stage:
        (asking,) = await parked(stage, 1)
        stage.happenings.add(DeploymentDeactivated(model_id=MODEL, deployment_id=ONE, reason="asked"))
        got = await asking
        assert (got.status, "deactivated" in got.error) == (404, True)


async def test_a_request_for_a_deployment_that_failed_to_build_is_refused_with_the_reason() -> None:
    async with staged() as stage:
        (asking,) = await parked(stage, 1)
        stage.happenings.add(
            BuildFailed(build_id=BuildId("b"), deployment_id=ONE, step="install", reason="no such package", seconds=1.0)
        )
        got = await asking
        assert (got.status, "install: no such package" in got.error) == (503, True)


async def test_a_parked_request_whose_time_is_over_learns_the_reason_and_the_status() -> None:
    async with staged(but(park_deadline_s=0.05)) as stage:
        got = await stage.ask("/model-m1/predict")
        assert got.status == 503
        assert "within 0.05 s; its status: LOADING_MODEL" in got.error
        assert got.headers["retry-after"]


async def test_an_environment_without_a_deployment_says_what_to_do() -> None:
    async with staged() as stage:
        settings = AutoscalingSettings()
        stage.happenings.add(EnvironmentCreated(model_id=MODEL, environment="staging", autoscaling=settings))
        got = await stage.ask("/model-m1/environments/staging/predict")
        assert (got.status, "--environment staging" in got.error) == (404, True)


async def test_a_caller_that_leaves_is_unparked_at_once() -> None:
    async with staged() as stage:
        caller = await stage.caller()
        caller.send(request("/model-m1/predict"))
        await until(lambda: stage.plane.parking.count == 1)
        caller.leave()
        await until(lambda: stage.plane.parking.count == 0)
        assert stage.plane.counts.left == 1


async def test_parking_is_bounded_in_requests_and_bytes() -> None:
    async with staged(but(parked_requests_max=2)) as stage:
        asking = await parked(stage, 2)
        got = await stage.ask("/model-m1/predict")
        assert (got.status, got.headers["retry-after"]) == (429, "5")
        await stage.serving()
        assert {each.status for each in await asyncio.gather(*asking)} == {200}
    async with staged(but(parked_bytes_max=1000)) as stage:
        got = await stage.ask("/model-m1/predict", b"x" * 2000)
        assert got.status == 429


async def test_a_large_body_is_not_read_further_while_parked_and_arrives_whole() -> None:
    async with staged(but(replay_bytes_max=100_000)) as stage:
        body = bytes(range(256)) * 40_000
        asking = asyncio.ensure_future(stage.ask("/model-m1/predict", body))
        await until(lambda: stage.plane.parking.bytes > 100_000)
        await asyncio.sleep(0.05)
        assert stage.plane.parking.bytes < 1_000_000
        await stage.serving()
        assert (await asking).body == body


async def test_load_is_told_when_it_begins_while_it_lasts_and_when_it_ends() -> None:
    async with staged() as stage:
        told: list[tuple[int, int]] = []

        async def listen() -> None:
            async for signal in stage.signals.listen():
                told.append((signal.in_flight, signal.parked))  # type: ignore[union-attr]

        listening = asyncio.ensure_future(listen())
        asking = await parked(stage, 2)
        await until(lambda: (0, 1) in told and (0, 2) in told)
        go = asyncio.Event()

        async def slow(seen: Seen, out: asyncio.StreamWriter) -> None:
            await go.wait()
            out.write(answer(b""))

        await stage.serving(slow)
        await until(lambda: told.count((2, 0)) > 2)
        go.set()
        await asyncio.gather(*asking)
        await until(lambda: told[-1] == (0, 0))
        count = len(told)
        await asyncio.sleep(0.2)
        assert told[count:] == []
        assert not stage.plane.loads.deployments
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listening


async def test_chunked_requests_are_parked_and_sent_whole() -> None:
    async with staged() as stage:
        caller = await stage.caller()
        head = f"POST /model-m1/predict HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {KEY}\r\n"
        caller.send(f"{head}transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n".encode())
        await until(lambda: stage.plane.parking.count == 1)
        replica = await stage.serving()
        caller.send(b"3\r\ndef\r\n0\r\n\r\n")
        assert (await caller.got()).body == b"abcdef"
        assert replica.seen[0].body == b"abcdef"
