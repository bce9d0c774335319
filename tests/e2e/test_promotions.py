"""Promotions on the real system: under load, failed, back, and undone by position.

`make promotions` does the same with 20,000 requests each.
"""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.e2e import promoting
from tests.e2e.plane import Plane, until
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
