"""Automatic rollback on the real system: a canary that answers with errors goes back by what the gateway measured."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from events.environment import PromotionFailed, PromotionRolledBack
from tests.e2e.plane import Plane, Pushed, until
from tests.e2e.projects import project, version

ROOM = "runtime:\n  predict_concurrency: 16\n"
BROKEN = "class Model:\n    def predict(self, model_input):\n        raise RuntimeError('this version is broken')\n"
CALLERS = 6


async def test_a_canary_that_answers_with_errors_goes_back_by_itself(
    plane: Plane, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    good = await plane.push(version(tmp_path / "good", "canary", "good", ROOM), "--wait")
    bad = await plane.push(project(tmp_path / "bad", "canary", BROKEN, ROOM), "--wait")
    where = f"/v1/models/{good.model_id}/environments/production"
    bounds = {"canary_percent": 20, "rollback_error_rate_percent": 5.0}
    answer = await http.patch(where, json={"promotion_settings": bounds})
    assert answer.status_code == 200, answer.text
    before = (await plane.events())[-1].position
    heard: Counter[Any] = Counter()
    calling = asyncio.create_task(call_without_pause(http, good, heard))
    try:
        promoted = await http.post(f"{where}/promote", json={"deployment_id": bad.deployment_id})
        assert promoted.status_code == 200, promoted.text
        back = await until(lambda: rolled_back(plane, before), "it was rolled back")
        count = heard.total()
        await until(lambda: later(heard, count + 200), "it serves on")
        errors = heard[500]
        await until(lambda: later(heard, count + 400), "and on")
        assert heard[500] == errors, "nobody hears an error any more"
    finally:
        calling.cancel()
        await asyncio.wait({calling})
    assert set(heard) == {200, 500} and heard[500] < heard[200] / 2, heard
    assert back.figures is not None
    assert back.figures.candidate.errors >= 20 > back.figures.current.errors == 0
    assert "percentage points" in back.reason
    ends = [each.event for each in await plane.events("PromotionFailed", after=before)]
    assert [type(each) for each in ends] == [PromotionFailed]
    shown = (await http.get(where)).json()
    assert shown["current_deployment"]["id"] == good.deployment_id


async def later(heard: Counter[Any], count: int) -> bool:
    return heard.total() >= count


async def call_without_pause(http: httpx.AsyncClient, model: Pushed, heard: Counter[Any]) -> None:
    async def call() -> None:
        while True:
            heard[(await http.post(f"{model.production}/predict", json={})).status_code] += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(CALLERS):
            group.create_task(call())


async def rolled_back(plane: Plane, after: int) -> PromotionRolledBack | None:
    found = [each.event for each in await plane.events("PromotionRolledBack", after=after)]
    return next((each for each in found if isinstance(each, PromotionRolledBack)), None)
