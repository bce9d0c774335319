"""kill -9 of every process in turn, while a model is pushed and another one is called without a pause.

The supervisor restarts what died. No acknowledged event is lost, every push ends, healthy replicas do not notice, and
no caller gets a wrong answer: only a connection to the killed gateway itself may break, and the caller tries again.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from ops.local import attach
from ops.local.stack_file import RoleStatus
from tests.e2e.plane import Plane, Pushed, until
from tests.e2e.projects import project, version

CALLERS = 3
STATED = ("ACTIVE", "BUILD_FAILED", "DEPLOY_FAILED")


@dataclass
class Calls:
    """What callers saw that never pause and ask again when a connection breaks."""

    answered: int = 0
    refused: list[str] = field(default_factory=list)
    broken: list[tuple[str, str]] = field(default_factory=list)
    """What was being killed, and how the connection broke."""
    during: str = "nothing"


@asynccontextmanager
async def calling(plane: Plane, pushed: Pushed) -> AsyncIterator[Calls]:
    calls, over = Calls(), asyncio.Event()

    async def call() -> None:
        async with plane.http() as http:
            while not over.is_set():
                try:
                    answer = await http.post(f"{pushed.production}/predict", json={})
                except httpx.TransportError as error:
                    calls.broken.append((calls.during, repr(error)))
                else:
                    calls.answered += answer.status_code == 200 and answer.json() == {"version": "steady"}
                    if answer.status_code != 200:
                        calls.refused.append(f"{calls.during}: {answer.status_code} {answer.text}")
                await asyncio.sleep(0.05)

    async with asyncio.TaskGroup() as group:
        for _ in range(CALLERS):
            group.create_task(call())
        try:
            yield calls
        finally:
            over.set()


@pytest.fixture(scope="module")
def steady(plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Pushed:
    """A healthy model with one replica, which should live through all of this."""
    folder = version(tmp_path_factory.mktemp("steady") / "steady", "steady", "steady")
    return asyncio.run(plane.push(folder, "--wait"))


@pytest.fixture(scope="module")
def lived(plane: Plane, steady: Pushed) -> Iterator[Callable[[], None]]:
    """Asserts, now and once more at the end, that the steady replica is the very same process."""
    (name,) = (each for each in asyncio.run(plane.replicas()) if each.startswith(steady.deployment_id))
    pid = asyncio.run(plane.replicas())[name]
    process = psutil.Process(pid)

    def the_same() -> None:
        assert process.is_running(), f"replica {name} (process {pid}) did not survive"

    yield the_same


def roles(plane: Plane) -> dict[str, RoleStatus]:
    running = attach.status(plane.settings)
    assert running is not None, "the stack itself is gone"
    return {each.role: each for each in running.roles}


async def killed(plane: Plane, role: str) -> None:
    """Returns when the supervisor has the role ready again, in another process."""
    before = roles(plane)[role].process
    assert before is not None
    os.kill(before.pid, signal.SIGKILL)

    async def again() -> bool:
        now = roles(plane)[role]
        return now.phase == "ready" and now.process is not None and now.process != before

    await until(again, f"{role} is ready again")


async def ids(plane: Plane) -> list[str]:
    """The whole log: the id of every event, in the order of positions."""
    events = await plane.events()
    assert [each.position for each in events] == list(range(1, len(events) + 1))
    return [each.meta.id for each in events]


KILLS = [
    ("nats", "BuildStarted"),
    ("control", "BuildStarted"),
    ("gateway", "BuildStarted"),
    ("builder", "BuildStarted"),
    ("node", "ReplicaAssigned"),
    ("postgres", "BuildStarted"),
]
"""What is killed, and which event of the push that is under way comes right before."""


@pytest.mark.parametrize(("role", "moment"), KILLS)
async def test_a_killed_process_is_restarted_and_nothing_is_lost(
    plane: Plane, steady: Pushed, lived: Callable[[], None], role: str, moment: str, tmp_path: Path
) -> None:
    victims = [each for each in roles(plane) if each.partition("-")[0] == role]
    assert victims, f"there is no role {role}: {list(roles(plane))}"
    async with calling(plane, steady) as calls:
        pushed = await plane.push(project(tmp_path / "echo", f"pushed while {role} dies"))

        async def reached() -> bool:
            mine = [each.event for each in await plane.events(moment)]
            return any(pushed.deployment_id in repr(each) for each in mine)

        await until(reached, f"{moment} of {pushed.deployment_id}")
        before = await ids(plane)
        calls.during = role
        await killed(plane, victims[0])
        shown = await ended(plane, pushed)
        answered = calls.answered
        await until(lambda: more_than(calls, answered), "the steady model answers on")
    assert shown["status"] == "ACTIVE", shown
    assert (await ids(plane))[: len(before)] == before, "an acknowledged event is gone"
    lived()
    assert calls.refused == []
    assert not calls.broken or role == "gateway", calls.broken
    assert len(calls.broken) <= CALLERS, f"a caller loses at most the request that it had in flight: {calls.broken}"
    async with plane.http() as http:
        assert (await http.post(f"{pushed.production}/predict", json=role)).json() == role
        (await http.post(f"{pushed.resource}/deactivate?force=true")).raise_for_status()


async def ended(plane: Plane, pushed: Pushed) -> dict[str, Any]:
    async def stated() -> dict[str, Any] | None:
        try:
            shown = await plane.deployment(pushed)
        except httpx.TransportError:
            return None
        return shown if shown["status"] in STATED else None

    return await until(stated, f"{pushed.deployment_id} ends ACTIVE or says why not")


async def more_than(calls: Calls, before: int) -> bool:
    return calls.answered > before + CALLERS


async def test_a_push_that_a_killed_gateway_cuts_off_ends_one_way_or_the_other(plane: Plane, tmp_path: Path) -> None:
    """Killed as the upload lands: the client is told that it failed, or the deployment is whole. Never half of one."""
    folder = project(tmp_path / "cut", "cut off")
    uploads = plane.settings.state / "run" / "uploads"
    before = set(uploads.rglob("*"))
    client = asyncio.create_task(plane.truss("push", str(folder), "--non-interactive", "--output", "json"))

    async def landed() -> bool:
        return client.done() or bool(set(uploads.rglob("*")) - before)

    await until(landed, "the upload begins")
    await killed(plane, next(each for each in roles(plane) if each.partition("-")[0] == "gateway"))
    said = await client
    if said.code != 0:
        assert said.told, "a client that fails says something"
        said = await plane.truss("push", str(folder), "--non-interactive", "--output", "json")
        assert said.code == 0, f"the same push again: {said}"
    last = Pushed(said.json["model_id"], said.json["model_version_id"])
    async with plane.http() as http:
        every = (await http.get(f"/v1/models/{last.model_id}/deployments")).json()["deployments"]
    for each in every:
        shown = await ended(plane, Pushed(last.model_id, each["id"]))
        assert shown["status"] == "ACTIVE", shown


async def test_a_killed_replica_is_replaced_and_no_caller_notices(plane: Plane, steady: Pushed) -> None:
    old, pid = await replica_of(plane, steady)
    async with calling(plane, steady) as calls:
        await until(lambda: more_than(calls, 0), "the steady model answers")
        for process in [*psutil.Process(pid).children(recursive=True), psutil.Process(pid)]:
            with suppress(psutil.NoSuchProcess):  # One that the kernel ended with another: they share a sandbox.
                process.kill()

        async def replaced() -> bool:
            shown = await plane.deployment(steady)
            return shown["status"] == "ACTIVE" and old not in await plane.replicas()

        await until(replaced, "another replica is ready")
        answered = calls.answered
        await until(lambda: more_than(calls, answered), "the steady model answers on")
    assert (calls.refused, calls.broken) == ([], [])
    failed = [each for each in await plane.events("ReplicaFailed") if old in repr(each.event)]
    assert len(failed) == 1 and "SIGKILL" in repr(failed[0].event), failed


async def replica_of(plane: Plane, pushed: Pushed) -> tuple[str, int]:
    (found,) = (each for each in (await plane.replicas()).items() if each[0].startswith(pushed.deployment_id))
    return found


async def test_afterwards_audit_and_views_agree_with_the_log(plane: Plane) -> None:
    await plane.assert_audit_equals_log()
    folded = {each["deployment_id"]: each for each in (await plane.causeway("deployments", "-o", "json")).json}
    async with plane.http() as http:
        for model in (await http.get("/v1/models")).json()["models"]:
            for shown in (await http.get(f"/v1/models/{model['id']}/deployments")).json()["deployments"]:
                own = folded.pop(shown["id"])
                same = ("status", "reason", "reason_position")
                assert {each: shown[each] for each in same} == {each: own[each] for each in same}
                assert shown["is_production"] == ("production" in own["environments"])
                assert shown["active_replica_count"] == own["ready"]
    assert folded == {}, "the gateway knows fewer deployments than the log"


async def test_replicas_outlive_a_killed_supervisor_and_end_with_a_stopped_stack(plane: Plane, steady: Pushed) -> None:
    before = await replica_of(plane, steady)
    running = attach.status(plane.settings)
    assert running is not None
    os.kill(running.supervisor.pid, signal.SIGKILL)
    plane.restart()
    assert await replica_of(plane, steady) == before and psutil.pid_exists(before[1])
    await answers(plane, steady)
    assert attach.down(plane.settings)
    assert not psutil.pid_exists(before[1])
    plane.restart()
    await answers(plane, steady)
    assert (await replica_of(plane, steady))[0] != before[0]


async def answers(plane: Plane, pushed: Pushed) -> None:
    async with plane.http() as http:
        assert (await http.post(f"{pushed.production}/predict", json={})).json() == {"version": "steady"}
