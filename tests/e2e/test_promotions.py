"""Promotions on the real system: by the stock client, under load, failed, back, and undone by position.

`make promotions` does the same with 20,000 requests each.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from tests.e2e import promoting
from tests.e2e.plane import Plane, until
from tests.e2e.projects import version
from tests.e2e.promoting import Load, Stage

REQUESTS = 300


@pytest.fixture(scope="module")
def stage(plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    made = Stage(plane, tmp_path_factory.mktemp("releases"), REQUESTS)
    asyncio.run(made.first())
    return made


@pytest.mark.parametrize("scenario", promoting.SCENARIOS, ids=lambda each: each.__name__)
async def test_callers_notice_nothing(stage: Stage, scenario: Callable[[Stage], Awaitable[Load]]) -> None:
    under = await scenario(stage)
    assert under.done >= REQUESTS and under.streams


async def test_an_environment_goes_back_under_load_by_its_own_history(stage: Stage) -> None:
    plane = stage.plane
    entries = (await plane.causeway("env", "log", "release", "--output", "json")).json
    completed = [each for each in entries if each["type"] == "PromotionCompleted"]
    assert all(each["seconds"] > 0 and each["cause"] for each in completed[1:]), completed
    good = completed[-2]
    await stage.configure(request_settings={"call_deadline_s": 77})
    tried = await plane.causeway("env", "revert", "release", "--to", str(good["position"]), "--dry-run")
    assert tried.code == 0 and "request_settings.call_deadline_s: 77 -> none" in tried.out, tried

    async def revert() -> None:
        said = await plane.causeway("env", "revert", "release", "--to", str(good["position"]))
        assert said.code == 0, said

        async def back() -> bool:
            shown = (await plane.causeway("env", "show", "release", "--output", "json")).json["state"]
            return bool(shown["current"] == good["deployment"])

        await until(back, f"{good['deployment']} is current again")

    await stage.under_load(revert)
    now = (await plane.causeway("env", "show", "release", "--output", "json")).json["state"]
    assert now["request_settings"]["call_deadline_s"] is None
    difference = (await plane.causeway("env", "diff", "release", str(good["position"]), "-o", "json")).json["changes"]
    settings = [each for each in difference if each["path"][0].endswith("settings")]
    assert settings == [], "all settings are what they were"


async def test_the_stock_client_pushes_to_an_environment_and_promotes(
    plane: Plane, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    first = await plane.active(version(tmp_path / "first", "stock", "first"))
    made = await plane.causeway("env", "create", "stock/staging", "--autoscaling", "max_replica=2")
    assert made.code == 0, made
    staged = await plane.push(version(tmp_path / "second", "stock", "second"), "--environment", "staging", "--wait")
    model = f"/model-{first.model_id}"

    async def answers(where: str) -> str:
        answer = await http.post(f"{model}/{where}/predict", json={})
        return str(answer.json().get("version", answer.text))

    async def staging_answers() -> bool:
        return await answers("environments/staging") == "second"

    await until(staging_answers, "staging answers with what was pushed to it")
    assert await answers("production") == "first"
    shown = (await http.get(f"/v1/models/{first.model_id}/environments/staging")).json()
    assert shown["current_deployment"]["id"] == staged.deployment_id
    await plane.push(version(tmp_path / "third", "stock", "third"), "--promote", "--wait")

    async def production_answers() -> bool:
        return await answers("production") == "third"

    await until(production_answers, "production answers with what was promoted by the push")
    # From one environment to the other: a copy that runs the same build.
    promoted = await plane.causeway("promote", "stock/deployment-2", "--to", "production", "--output", "json")
    assert promoted.code == 0 and promoted.json["deployment_id"] != staged.deployment_id, promoted
    assert [await answers("production"), await answers("environments/staging")] == ["second", "second"]
    gone = await plane.causeway("env", "delete", "stock/staging")
    assert gone.code == 0, gone
    missing = await http.post(f"{model}/environments/staging/predict", json={})
    assert missing.status_code == 404 and "environments: production" in missing.text
    log = await plane.causeway("env", "log", "stock/staging", "--output", "json")
    assert [each["type"] for each in log.json][-1] == "EnvironmentDeleted"


async def test_a_terminated_replica_is_replaced_and_no_request_fails(stage: Stage) -> None:
    plane = stage.plane
    state = (await plane.causeway("env", "show", "release", "--output", "json")).json["state"]
    own = [each for each in await plane.replicas() if each.startswith(state["current_id"])]

    async def terminate() -> None:
        said = await plane.causeway("deployment", "terminate", state["current_id"], own[0])
        assert said.code == 0, said

        async def replaced() -> bool:
            now = [each for each in await plane.replicas() if each.startswith(state["current_id"])]
            return own[0] not in now and len(now) == len(own)

        await until(replaced, f"{own[0]} has a successor")

    await stage.under_load(terminate)
