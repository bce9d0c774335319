"""Autoscaling on the real system: from zero, down under traffic, and with kill -9 in the middle. No caller notices."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import aiohttp
import httpx
import pytest

from events.replica import ReplicaAssigned
from events.scaling import ReplicaTargetLowered, ReplicaTargetRaised, ScaledToZero
from ops.local import attach
from tests.e2e.plane import Plane, Pushed, Said, until
from tests.e2e.projects import project

SERVER = """import time

class Model:
    def predict(self, model_input):
        time.sleep(model_input.get("seconds", 0))
        return {"served": True}
"""
CONFIG = "runtime:\n  predict_concurrency: 16\n"
REQUESTS = 20_000
CALLERS = 12


@pytest.fixture(scope="module")
def model(plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Pushed:
    folder = project(tmp_path_factory.mktemp("scaled") / "scaled", "scaled", SERVER, CONFIG)
    return asyncio.run(plane.push(folder, "--wait"))


async def at_zero(plane: Plane, model: Pushed, **settings: int) -> int:
    """Brings it there and gives the position; then the settings."""
    await plane.configure(model, min_replica=0, scale_down_delay=1)
    shown = await plane.reaches(model, "SCALED_TO_ZERO")
    await plane.configure(model, scale_down_delay=900, **settings)
    return int(shown["reason_position"])


async def decided(
    plane: Plane, model: Pushed, after: int
) -> list[ReplicaTargetRaised | ReplicaTargetLowered | ScaledToZero]:
    found = [each.event for each in await plane.events(after=after)]
    kinds = (ReplicaTargetRaised, ReplicaTargetLowered, ScaledToZero)
    return [each for each in found if isinstance(each, kinds) and each.deployment_id == model.deployment_id]


async def assigned(plane: Plane, model: Pushed, after: int) -> list[str]:
    events = [each.event for each in await plane.events("ReplicaAssigned", after=after)]
    return [e.replica_id for e in events if isinstance(e, ReplicaAssigned) and e.deployment_id == model.deployment_id]


async def test_two_hundred_requests_at_zero_are_all_answered_by_one_wave_of_starts(plane: Plane, model: Pushed) -> None:
    zero = await at_zero(plane, model, max_replica=2, concurrency_target=16)
    limits = httpx.Limits(max_connections=200)
    headers = {"Authorization": f"Api-Key {plane.key}"}
    async with httpx.AsyncClient(
        base_url=plane.url, headers=headers, timeout=120, limits=limits, trust_env=False
    ) as http:
        answers = await asyncio.gather(*(http.post(f"{model.production}/predict", json={}) for _ in range(200)))
    assert Counter(each.status_code for each in answers) == {200: 200}
    moves = await decided(plane, model, zero)
    assert {each.rule for each in moves} == {"parked request"}, moves
    started = await assigned(plane, model, zero)
    assert len(started) == len(set(started)) == getattr(moves[-1], "target", 0) <= 2, (started, moves)


@dataclass
class Traffic:
    statuses: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    @property
    def answered(self) -> int:
        return self.statuses.total()


@asynccontextmanager
async def traffic(plane: Plane, model: Pushed, callers: int = CALLERS, seconds: float = 0.0) -> AsyncIterator[Traffic]:
    """Callers that never pause. Each keeps a connection of its own."""
    seen, over = Traffic(), asyncio.Event()
    url, headers = f"{plane.url}{model.production}/predict", {"Authorization": f"Api-Key {plane.key}"}

    async def call(session: aiohttp.ClientSession) -> None:
        while not over.is_set():
            try:
                async with session.post(url, json={"seconds": seconds}) as answer:
                    text = await answer.text()
                    seen.statuses[answer.status] += 1
                    if answer.status != 200:
                        seen.failures.append(f"{answer.status} {text[:300]}")
            except aiohttp.ClientError as error:
                seen.failures.append(repr(error))

    connector = aiohttp.TCPConnector(limit=callers)
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(headers=headers, connector=connector, timeout=timeout) as session:
        async with asyncio.TaskGroup() as group:
            for _ in range(callers):
                group.create_task(call(session))
            try:
                yield seen
            finally:
                over.set()


@pytest.mark.timeout(600)
async def test_scaling_down_under_constant_traffic_loses_none_of_twenty_thousand(plane: Plane, model: Pushed) -> None:
    await plane.configure(model, min_replica=3, max_replica=3, scale_down_delay=900, concurrency_target=1000)
    await ready(plane, model, 3)
    before = (await plane.events())[-1].position
    async with traffic(plane, model) as seen:
        await until(lambda: answers(seen, REQUESTS // 4), "a quarter is answered by three replicas", 300)
        await plane.configure(model, min_replica=1, scale_down_delay=1)
        await until(lambda: lowered_to(plane, model, before, 1), "one replica is left")
        await until(lambda: answers(seen, REQUESTS), "all are answered", 400)
    assert seen.failures == []
    steps = [each for each in await decided(plane, model, before) if isinstance(each, ReplicaTargetLowered)]
    assert [(each.previous, each.target, each.rule) for each in steps] == [(3, 2, "staircase"), (2, 1, "staircase")]
    assert all(each.grounds.window_filled and each.grounds.settings_position > 0 for each in steps)


async def answers(seen: Traffic, count: int) -> bool:
    assert not seen.failures, seen.failures[:5]
    return seen.answered >= count


async def ready(plane: Plane, model: Pushed, count: int) -> None:
    async def there() -> bool:
        return bool((await plane.deployment(model))["active_replica_count"] == count)

    await until(there, f"{count} replicas are ready")


async def lowered_to(plane: Plane, model: Pushed, after: int, target: int) -> bool:
    moves = await decided(plane, model, after)
    return bool(moves) and getattr(moves[-1], "target", 0) == target


def kill_role(plane: Plane, name: str) -> None:
    running = attach.status(plane.settings)
    assert running is not None, "the stack is up"
    (process,) = (each.process for each in running.roles if each.role.partition("-")[0] == name and each.process)
    os.kill(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("victim", ["control", "node"])
async def test_who_is_killed_while_a_request_waits_is_restarted_and_the_request_answered(
    plane: Plane, model: Pushed, http: httpx.AsyncClient, victim: str
) -> None:
    await at_zero(plane, model, max_replica=1)
    if victim == "control":
        kill_role(plane, victim)
    waiting = asyncio.create_task(http.post(f"{model.production}/predict", json={}))
    if victim == "node":
        await asyncio.sleep(0.3)
        kill_role(plane, victim)
    answer = await waiting
    assert answer.status_code == 200, answer.text
    assert int(answer.headers["x-causeway-parked-ms"]) > 0


async def test_a_killed_autoscaler_scales_nothing_by_itself(plane: Plane, model: Pushed) -> None:
    await plane.configure(model, min_replica=0, max_replica=2, concurrency_target=16, scale_down_delay=900)
    async with traffic(plane, model, callers=2) as seen:
        await until(lambda: answers(seen, 50), "it serves")
        before = (await plane.events())[-1].position
        kill_role(plane, "control")
        count = seen.answered
        await until(lambda: answers(seen, count + 2000), "it goes on serving")
    assert await decided(plane, model, before) == []


async def test_a_killed_replica_loses_no_request_where_another_remains(plane: Plane, model: Pushed) -> None:
    await plane.configure(model, min_replica=2, max_replica=2, scale_down_delay=900)
    await ready(plane, model, 2)
    names = {name: pid for name, pid in (await plane.replicas()).items() if name.startswith(model.deployment_id)}
    async with traffic(plane, model, callers=6, seconds=0.02) as seen:
        await until(lambda: answers(seen, 100), "both serve")
        with suppress(ProcessLookupError):
            os.kill(next(iter(names.values())), signal.SIGKILL)
        count = seen.answered
        await until(lambda: answers(seen, count + 500), "the other one serves")
        await ready(plane, model, 2)
    assert seen.failures == []


async def test_the_history_tells_where_starts_spend_their_time_and_what_other_settings_would_have_done(
    plane: Plane, model: Pushed
) -> None:
    anatomy = await plane.causeway("coldstart", model.deployment_id, "--output", "json")
    assert anatomy.code == 0, anatomy
    assert anatomy.json["starts"] >= 5 and sum(stage["slowest"] for stage in anatomy.json["stages"]) == 1
    asked = ("whatif", model.deployment_id, "--from", "30m", "--set", "max_replica=5", "--set", "concurrency_target=1")

    async def told() -> Said | None:
        said = await plane.causeway(*asked, "--output", "json")
        return said if said.code == 0 else None

    both = (await until(told, "load has been recorded")).json
    assert both["what_if"]["peak"] == 5 > both["as_set"]["peak"] > 0
    assert both["what_if"]["replica_hours"] > 0
    shown = await plane.causeway(*asked)
    assert "replica-hours" in shown.told and "records of 10 s" in shown.told
