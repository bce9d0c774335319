"""No replica gets more at a time than its model can do; who finds all full waits his turn, across workers, too."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from events.base import ReplicaId
from events.signals import Load, Share, Signals
from events.signals.core_nats import CoreNatsSignals
from events.signals.memory import MemorySignals
from gateway.circuit import CircuitSettings
from tests.gateway.dataplane.happened import ONE, promoted, pushed, ready
from tests.gateway.dataplane.replicas import ScriptedReplica, Seen, answer
from tests.gateway.dataplane.stage import QUICK, Got, Stage, request, staged, until
from tests.nats import NatsServer


class Gated:
    """A script that answers when let, and knows how many it has at a time."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.slots = asyncio.Semaphore(0)
        self.order: list[bytes] = []

    async def __call__(self, seen: Seen, out: asyncio.StreamWriter) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        self.order.append(seen.body)
        try:
            await self.slots.acquire()
            out.write(answer(seen.body))
        finally:
            self.now -= 1

    def let(self, count: int) -> None:
        for _ in range(count):
            self.slots.release()


async def asked(stage: Stage, count: int) -> "list[asyncio.Task[Got]]":
    """In this order."""
    asking = []
    for turn in range(count):
        caller = await stage.caller()
        before = stage.plane.counts.requests
        caller.send(request("/model-m1/predict", b"%d" % turn))
        await until(lambda before=before: stage.plane.counts.requests > before)  # type: ignore[misc]
        asking.append(asyncio.ensure_future(caller.got()))
    return asking


async def test_a_replica_gets_its_limit_and_the_others_wait_in_order() -> None:
    async with staged(concurrency=2) as stage:
        gate = Gated()
        replica = await stage.serving(gate)
        asking = await asked(stage, 8)
        await replica.seen_count(2)
        assert stage.plane.parking.count == 6
        for done in range(1, 9):
            gate.let(1)
            await until(lambda done=done: sum(each.done() for each in asking) == done)  # type: ignore[misc]
        assert gate.most == 2
        answers = [each.result() for each in asking]
        assert {got.status for got in answers} == {200}
        assert sorted(gate.order[:2]) == [b"0", b"1"] and sorted(gate.order) == [b"%d" % n for n in range(8)]
        assert [got.headers.get("x-causeway-queue-position") for got in answers[2:]] == ["0", "1", "2", "3", "4", "5"]
        assert int(answers[7].headers["x-causeway-parked-ms"]) > 0


async def test_room_at_another_replica_is_used_first() -> None:
    async with staged(concurrency=1) as stage:
        gates = [Gated(), Gated(), Gated()]
        replicas = [await stage.serving(gate, f"r{n}") for n, gate in enumerate(gates)]
        asking = await asked(stage, 4)
        for replica in replicas:
            await replica.seen_count(1)
        assert stage.plane.parking.count == 1
        for gate in gates:
            gate.let(4)
        assert {got.status for got in await asyncio.gather(*asking)} == {200}
        assert [gate.most for gate in gates] == [1, 1, 1]


async def test_a_new_replica_takes_those_who_wait_for_a_slot() -> None:
    async with staged(concurrency=1) as stage:
        full, fresh = Gated(), Gated()
        fresh.let(10)
        await stage.serving(full, "r1")
        asking = await asked(stage, 3)
        await until(lambda: stage.plane.parking.count == 2)
        await stage.serving(fresh, "r2")
        assert [got.headers["x-causeway-replica"] for got in await asyncio.gather(*asking[1:])] == ["r2", "r2"]
        full.let(1)
        assert (await asking[0]).headers["x-causeway-replica"] == "r1"


async def test_a_caller_that_leaves_frees_its_slot() -> None:
    async with staged(concurrency=1) as stage:
        gate = Gated()
        replica = await stage.serving(gate)
        leaver = await stage.caller()
        leaver.send(request("/model-m1/predict", b"leaver"))
        await replica.seen_count(1)
        (waiting,) = await asked(stage, 1)
        await until(lambda: stage.plane.parking.count == 1)
        leaver.leave()
        await replica.caller_left.wait()
        await replica.seen_count(2)
        gate.let(1)
        assert (await waiting).status == 200


async def test_who_waits_too_long_for_a_slot_learns_what_to_change() -> None:
    async with staged(msgspec.structs.replace(QUICK, park_deadline_s=0.1), concurrency=1) as stage:
        gate = Gated()
        replica = await stage.serving(gate)
        asking = await asked(stage, 1)
        await replica.seen_count(1)
        got = await stage.ask("/model-m1/predict")
        assert (got.status, "busy for 0.1 s, with 1 requests each" in got.error) == (504, True)
        gate.let(1)
        assert (await asking[0]).status == 200


async def test_the_waiting_for_slots_is_bounded() -> None:
    async with staged(msgspec.structs.replace(QUICK, parked_requests_max=2), concurrency=1) as stage:
        gate = Gated()
        await stage.serving(gate)
        asking = await asked(stage, 3)
        got = await stage.ask("/model-m1/predict")
        assert (got.status, got.headers["retry-after"]) == (429, "5")
        gate.let(3)
        assert {each.status for each in await asyncio.gather(*asking)} == {200}


async def test_who_waits_for_a_slot_follows_a_promotion() -> None:
    async with staged(concurrency=1) as stage:
        gate = Gated()
        await stage.serving(gate, "old")
        asking = await asked(stage, 3)
        await until(lambda: stage.plane.parking.count == 2)
        replica = await stage.replica()
        two = pushed(ONE.__class__("d2"), concurrency=1)
        stage.happenings.add(two, ready("new", replica.address, two.deployment_id), promoted(two.deployment_id))
        assert {got.headers["x-causeway-replica"] for got in await asyncio.gather(*asking[1:])} == {"new"}
        gate.let(1)
        assert (await asking[0]).status == 200


def other_worker(in_flight: int, parked: int = 0) -> Load:
    return Load(
        worker="w2",
        deployment_id=ONE,
        in_flight=in_flight,
        parked=parked,
        waiting_since=datetime.now(UTC) if parked else None,
        replicas=(Share(ReplicaId("r1"), in_flight),),
        at=datetime.now(UTC),
    )


async def test_what_other_workers_have_at_a_replica_counts() -> None:
    async with staged(concurrency=1) as stage:
        replica = await stage.serving()
        await stage.signals.publish(other_worker(1))
        await until(lambda: stage.plane.loads.in_flight.get(ReplicaId("r1")) == 1)
        asking = await asked(stage, 2)
        assert stage.plane.parking.count == 2 and not replica.seen
        await stage.signals.publish(other_worker(0))
        assert {got.status for got in await asyncio.gather(*asking)} == {200}


async def test_a_worker_that_waits_hears_at_once_of_a_slot_that_frees() -> None:
    async with staged(msgspec.structs.replace(QUICK, load_every_s=3600.0), concurrency=1) as stage:
        gate = Gated()
        replica = await stage.serving(gate)
        told: list[Load] = []

        async def listen() -> None:
            async for signal in stage.signals.listen():
                if isinstance(signal, Load) and signal.worker == "w1":
                    told.append(signal)

        listening = asyncio.ensure_future(listen())
        asking = await asked(stage, 1)
        await replica.seen_count(1)
        await stage.signals.publish(other_worker(0, parked=1))
        await until(lambda: bool(stage.plane.loads.shares.waiting))
        gate.let(1)
        await asking[0]
        await until(lambda: bool(told) and told[-1].replicas == ())
        listening.cancel()
        await asyncio.wait([listening])


async def settled(*stages: Stage) -> None:
    for stage in stages:
        await until(lambda stage=stage: not stage.plane.loads.in_flight and not stage.plane.loads.shares.waiting)  # type: ignore[misc]


async def test_two_workers_keep_to_the_limit_together_and_the_first_in_line_goes_first() -> None:
    signals = MemorySignals()
    await two_workers(signals, signals)


async def test_two_workers_that_hear_each_other_over_nats_do_the_same(tmp_path: Path) -> None:
    with NatsServer(tmp_path) as server:
        signals = [await CoreNatsSignals.connect(server.url) for _ in range(2)]
        try:
            await two_workers(*signals)
        finally:
            for each in signals:
                await each.close()


async def two_workers(signals: Signals, others: Signals) -> None:
    slow_reports = msgspec.structs.replace(QUICK, load_every_s=0.5, yield_s=5.0)
    async with (
        staged(slow_reports, concurrency=1, signals=signals) as one,
        staged(slow_reports, concurrency=1, signals=others, worker="w2") as two,
    ):
        gate = Gated()
        replica = await one.replica(gate)
        for stage in (one, two):
            stage.happenings.add(ready("r1", replica.address))
        asking: list[asyncio.Task[Got]] = []
        for turn in range(10):
            stage = (one, two)[turn % 2]
            caller = await stage.caller()
            caller.send(request("/model-m1/predict", b"%d" % turn))
            asking.append(asyncio.ensure_future(caller.got()))
            if not turn:
                await replica.seen_count(1)
                await until(lambda: two.plane.loads.in_flight == {"r1": 1})
            else:
                await until(lambda turn=turn: one.plane.parking.count + two.plane.parking.count == turn)  # type: ignore[misc]
                await asyncio.sleep(0.01)
        for turn in range(10):
            await replica.seen_count(turn + 1)
            gate.let(1)
        assert {got.status for got in await asyncio.gather(*asking)} == {200}
        assert gate.order == [b"%d" % turn for turn in range(10)]
        assert gate.most == 1
        await settled(one, two)


async def test_a_worker_that_waits_for_nothing_any_more_holds_up_nobody() -> None:
    signals = MemorySignals()
    async with (
        staged(concurrency=1, signals=signals) as one,
        staged(concurrency=1, signals=signals, worker="w2") as two,
    ):
        leaver = await two.caller()
        leaver.send(request("/model-m1/predict"))
        await until(lambda: two.plane.parking.count == 1 and bool(one.plane.loads.shares.waiting))
        replica = await one.replica()
        one.happenings.add(ready("r1", replica.address))  # The other worker is behind.
        assert (await one.ask("/model-m1/predict")).status == 200
        leaver.leave()
        await settled(one, two)


@pytest.mark.parametrize("broken", ["refuses", "breaks"])
async def test_a_replica_that_fails_again_and_again_is_left_alone(broken: str) -> None:
    circuit = CircuitSettings(failures=2, rest_s=3600.0, rest_cap_s=3600.0, avoid_s=0.0)
    async with staged(msgspec.structs.replace(QUICK, circuit=circuit)) as stage:

        async def breaks(seen: Seen, out: asyncio.StreamWriter) -> None:
            out.transport.abort()

        bad = await stage.serving(breaks, "bad")
        if broken == "refuses":
            await bad.kill()
        await stage.serving(name="good")
        answers = [await stage.ask("/model-m1/predict") for _ in range(12)]
        assert {got.headers["x-causeway-replica"] for got in answers} == {"good"}
        assert [int(got.headers["x-causeway-attempts"]) for got in answers].count(2) == 2


async def test_a_slot_that_a_failing_request_gives_back_goes_to_the_next() -> None:
    async with staged(concurrency=1) as stage:
        statuses = ["503 Service Unavailable", "200 OK", "200 OK", "200 OK"]

        async def script(seen: Seen, out: asyncio.StreamWriter) -> None:
            out.write(answer(seen.body, statuses.pop(0)))

        replica: ScriptedReplica = await stage.serving(script)
        asking = await asked(stage, 3)
        answers = await asyncio.gather(*asking)
        assert {got.status for got in answers} == {200}
        assert sorted(seen.body for seen in replica.seen[1:]) == [b"0", b"1", b"2"]
