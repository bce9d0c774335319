"""The main job on the real system: push, predict, zero and back, promote under load, roll back, ask the history."""

import asyncio
import runpy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from events.environment import PromotionCompleted
from events.replica import ReplicaAssigned
from tests.e2e.plane import EXAMPLES, Plane, Pushed, until
from tests.e2e.projects import version

KNOWN = runpy.run_path(str(EXAMPLES / "minilm" / "check.py"))["PAIRS"]
FLOWERS = {"instances": [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]}


async def pushed_by_hand(plane: Plane, folder: Path) -> dict[str, Any]:
    said = await plane.causeway("truss", "push", str(folder), "--wait", "--output", "json")
    assert said.code == 0, said
    answer: dict[str, Any] = said.json
    return answer


@pytest.fixture(scope="module")
def examples(plane: Plane) -> dict[str, dict[str, Any]]:
    """What the stock client said of each example, all pushed at the same time."""
    names = ("iris", "minilm", "stream")

    async def push_all() -> list[dict[str, Any]]:
        return await asyncio.gather(*(pushed_by_hand(plane, EXAMPLES / name) for name in names))

    return dict(zip(names, asyncio.run(push_all()), strict=True))


def of(answer: dict[str, Any]) -> Pushed:
    return Pushed(answer["model_id"], answer["model_version_id"])


def test_a_first_push_ends_active_and_becomes_production_by_itself(examples: dict[str, dict[str, Any]]) -> None:
    for name, answer in examples.items():
        deployment = answer["deployment"]
        assert deployment["status"] == "ACTIVE", (name, deployment)
        assert answer["predict_url"].endswith(f"/deployment/{answer['model_version_id']}/predict")
        assert deployment["reason"] and deployment["reason_position"] > 0


async def test_iris_is_named_through_the_production_url(
    plane: Plane, http: httpx.AsyncClient, examples: dict[str, dict[str, Any]]
) -> None:
    iris = of(examples["iris"])
    answer = await http.post(f"{iris.production}/predict", json=FLOWERS)
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"] == ["setosa", "virginica"]
    assert answer.headers["x-causeway-deployment"] == iris.deployment_id
    assert int(answer.headers["x-causeway-position"]) > 0 and answer.headers["x-request-id"]
    by_host = {"Host": f"model-{iris.model_id}.localhost"}
    named = await http.post("/production/predict", json=FLOWERS, headers=by_host)
    assert named.json() == answer.json()


async def test_minilm_agrees_with_known_similarities_both_ways(
    http: httpx.AsyncClient, examples: dict[str, dict[str, Any]]
) -> None:
    minilm = of(examples["minilm"])
    texts = sorted({text for pair in KNOWN for text in pair[:2]})
    predicted = (await http.post(f"{minilm.production}/predict", json={"inputs": texts})).json()["embeddings"]
    answer = await http.post(f"{minilm.production}/v1/embeddings", json={"model": "minilm", "input": texts})
    embedded = [each["embedding"] for each in answer.json()["data"]]
    for vectors in (predicted, embedded):
        of_text = dict(zip(texts, vectors, strict=True))
        for one, other, similarity in KNOWN:
            assert dot(of_text[one], of_text[other]) == pytest.approx(similarity, abs=0.002), (one, other)


def dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


async def test_tokens_reach_the_caller_one_by_one(http: httpx.AsyncClient, examples: dict[str, dict[str, Any]]) -> None:
    stream = of(examples["stream"])
    wanted = {"prompt": "to be or not", "max_tokens": 12, "delay_s": 0.1}
    async with http.stream("POST", f"{stream.production}/predict", json=wanted) as answer:
        pieces = [piece async for piece in answer.aiter_raw()]
    assert b"".join(pieces).split() == b"to be or not to be or not to be or not".split()
    assert len(pieces) >= 6, "tokens a tenth of a second apart came in few pieces: something holds them back"


async def test_chat_completions_are_streamed_as_events(
    http: httpx.AsyncClient, examples: dict[str, dict[str, Any]]
) -> None:
    stream = of(examples["stream"])
    wanted = {"messages": [{"role": "user", "content": "one two"}], "max_tokens": 4, "delay_s": 0, "stream": True}
    async with http.stream("POST", f"{stream.production}/v1/chat/completions", json=wanted) as answer:
        lines = [line async for line in answer.aiter_lines() if line]
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert lines[-1] == "data: [DONE]" and len(lines) == 7


async def test_requests_at_zero_are_parked_and_answered_by_one_wave_of_starts(
    plane: Plane, http: httpx.AsyncClient, examples: dict[str, dict[str, Any]]
) -> None:
    iris = of(examples["iris"])
    await plane.configure(iris, scale_down_delay=1)
    zero = await plane.reaches(iris, "SCALED_TO_ZERO")
    await plane.configure(iris, scale_down_delay=900)
    assert zero["active_replica_count"] == 0
    answers = await asyncio.gather(*(http.post(f"{iris.production}/predict", json=FLOWERS) for _ in range(20)))
    assert [each.status_code for each in answers] == [200] * 20
    assert all(int(each.headers["x-causeway-parked-ms"]) > 0 for each in answers)
    after = int(zero["reason_position"])
    assigned = [each.event for each in await plane.events("ReplicaAssigned", after=after)]
    mine = [e for e in assigned if isinstance(e, ReplicaAssigned) and e.deployment_id == iris.deployment_id]
    assert len(mine) == 1, mine
    raised = await plane.events("ReplicaTargetRaised", after=after)
    assert len([e for e in raised if getattr(e.event, "deployment_id", "") == iris.deployment_id]) == 1
    assert (await plane.deployment(iris))["status"] == "ACTIVE"


@dataclass
class Load:
    """What callers that never pause were answered, each caller for itself."""

    versions: list[list[str]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def newest(self) -> set[str]:
        return {each[-1] for each in self.versions if each}


@asynccontextmanager
async def load(http: httpx.AsyncClient, url: str, callers: int = 3) -> AsyncIterator[Load]:
    seen, over = Load(), asyncio.Event()

    async def call(mine: list[str]) -> None:
        while not over.is_set():
            try:
                answer = await http.post(url, json={})
            except httpx.HTTPError as error:
                seen.failures.append(repr(error))
                continue
            if answer.status_code == 200:
                mine.append(answer.json()["version"])
            else:
                seen.failures.append(f"{answer.status_code} {answer.text}")
            await asyncio.sleep(0.05)

    seen.versions = [[] for _ in range(callers)]
    async with asyncio.TaskGroup() as group:
        for mine in seen.versions:
            group.create_task(call(mine))
        try:
            yield seen
        finally:
            over.set()


async def test_a_promotion_moves_traffic_without_a_failed_request_and_back_without_a_build(
    plane: Plane, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    first = await plane.push(version(tmp_path / "one", "greeter", "one"), "--wait")
    url = f"{first.production}/predict"
    async with load(http, url) as seen:
        await until(lambda: said_by_all(seen, "one"), "the first version answers")
        second = await plane.push(version(tmp_path / "two", "greeter", "two"), "--promote", "--wait")
        await until(lambda: said_by_all(seen, "two"), "the second version answers at the same URL")
        await plane.reaches(first, "SCALED_TO_ZERO")
        builds = len(await plane.events("BuildRequested"))
        back = await plane.causeway("promote", "greeter/deployment-1", "--output", "json")
        assert back.code == 0 and back.json["result"] == "completed", back
        await until(lambda: said_by_all(seen, "one"), "the first version answers again")
        await plane.reaches(second, "SCALED_TO_ZERO")
    assert seen.failures == []
    for mine in seen.versions:
        turns = [b for a, b in zip(["", *mine], mine, strict=False) if a != b]
        assert turns == ["one", "two", "one"], turns
    assert len(await plane.events("BuildRequested")) == builds, "a rollback builds nothing"
    assert second.model_id == first.model_id and second.deployment_id != first.deployment_id


async def said_by_all(seen: Load, wanted: str) -> bool:
    return all(mine and mine[-1] == wanted for mine in seen.versions)


async def test_the_timeline_tells_every_step_with_its_cause(plane: Plane) -> None:
    said = await plane.causeway("timeline", "greeter/deployment-2", "--output", "json")
    assert said.code == 0, said
    for event in ("DeploymentPushed", "BuildSucceeded", "ReplicaReady", "PromotionStarted", "PromotionCompleted"):
        assert event in said.out, event
    shown = await plane.causeway("timeline", "greeter/deployment-2")
    assert "because of" in shown.out and "key:" in shown.out and "reactor:promote" in shown.out


async def test_why_leads_from_a_replica_back_to_the_push(plane: Plane) -> None:
    ready = (await plane.events("ReplicaReady"))[-1]
    said = await plane.causeway("why", str(ready.position))
    assert said.code == 0, said
    for event in ("ReplicaTargetRaised", "ReplicaAssigned", "ReplicaReady"):
        assert event in said.out, said.out


async def test_routing_before_and_after_a_promotion_is_replayed(plane: Plane) -> None:
    completed = [each for each in await plane.events("PromotionCompleted")]
    events = [each.event for each in completed]
    assert all(isinstance(each, PromotionCompleted) for each in events)
    last, event = completed[-1], completed[-1].event
    assert isinstance(event, PromotionCompleted)
    before = await plane.state("routing", at=str(last.position - 1))
    after = await plane.state("routing", at=str(last.position))
    assert routed(before, event.model_id) != event.deployment_id == routed(after, event.model_id)
    changed = await plane.causeway("diff", str(last.position - 1), str(last.position))
    assert changed.code == 0
    assert f"routing.models.{event.model_id}.environments.production" in changed.out, changed


def routed(routing: dict[str, Any], model_id: str) -> str | None:
    found: str | None = routing["state"]["models"][model_id]["environments"]["production"]
    return found


async def test_the_audit_trail_has_a_row_for_every_event(plane: Plane) -> None:
    await plane.assert_audit_equals_log()
    pushes = await plane.causeway("audit", "--type", "DeploymentPushed", "--actor", "key:*", "--output", "json")
    assert len(pushes.rows) >= 5 and all(each["actor"].startswith("key:") for each in pushes.rows)
