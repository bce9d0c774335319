"""A scrape needs a key with the scope metrics, sees what the key is for, and leaves all other paths alone."""

from collections.abc import Sequence
from typing import Any

import httpx
import msgspec
import pytest

from events.base import KeyId, ModelId, PromotionId
from events.environment import PromotionStarted
from gateway.insight.scrape import Scrape, seen_with
from gateway.insight.tallies import Tallies
from gateway.insight.worker import Moment
from projections.access import Key
from tests.gateway.dataplane.happened import MODEL, ONE, TWO, Happenings, issued, promoted, pushed, registered
from tests.gateway.insight.test_metrics import moment
from tests.gateway.insight.trips import trip

OTHER = ModelId("m2")


@pytest.fixture
def happenings() -> Happenings:
    happenings = Happenings()
    happenings.add(registered(), pushed(ONE), registered(OTHER, "other"), pushed(TWO, model=OTHER))
    return happenings


@pytest.mark.parametrize(
    ("models", "environments", "sees"),
    [
        ((), (), (2, 2)),
        ((MODEL,), (), (1, 1)),
        (("foreign",), (), (0, 0)),
        ((), ("staging",), (0, 0)),
        ((), ("production",), (0, 2)),
    ],
)
def test_what_a_narrow_key_sees(
    happenings: Happenings, models: tuple[str, ...], environments: tuple[str, ...], sees: tuple[int, int]
) -> None:
    tallies = Tallies()
    tallies.add(trip())
    (series,) = tallies.series.values()
    whole = msgspec.structs.replace(
        moment("w1"),
        deployments={ONE: (1, 0, 0), TWO: (1, 0, 0)},
        replicas={ONE: 1, TWO: 1},
        series=[msgspec.structs.replace(series, model_id=each) for each in (MODEL, OTHER)],
    )
    key = Key(KeyId("k"), "narrow", "", ("metrics",), "", tuple(map(ModelId, models)), environments)
    seen = seen_with(key, whole, happenings.routing.state)
    assert (len(seen.deployments), len(seen.series)) == sees
    assert len(seen.replicas) == len(seen.deployments)


async def another_app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"the control API"})


@pytest.fixture
def prometheus(happenings: Happenings) -> httpx.AsyncClient:
    happenings.add(
        issued("wide.secret", ("metrics",)), issued("narrow.secret", ("metrics",), (OTHER,)), issued("caller.secret")
    )
    tallies = Tallies()
    tallies.add(trip())

    async def moments() -> Sequence[Moment]:
        return [moment("w1", tallies)]

    app = Scrape(another_app, happenings.access, happenings.routing, moments)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://plane")


async def test_a_scrape_shows_what_the_key_is_for(prometheus: httpx.AsyncClient) -> None:
    for key, sees in (("wide.secret", True), ("narrow.secret", False)):
        answer = await prometheus.get("/metrics", headers={"authorization": f"Bearer {key}"})
        assert answer.status_code == 200 and "causeway_gateway_log_position" in answer.text
        assert ('model_id="m1"' in answer.text) is sees
        assert int(answer.headers["content-length"]) == len(answer.content)


async def test_a_scrape_tells_who_serves_which_environment_and_who_is_to(
    happenings: Happenings, prometheus: httpx.AsyncClient
) -> None:
    started = PromotionStarted(
        promotion_id=PromotionId("p"),
        model_id=MODEL,
        environment="staging",
        deployment_id=ONE,
        previous=None,
        wanted_replicas=1,
        cleanup="KEEP",
        deadline_s=60,
    )
    happenings.add(promoted(ONE), started, issued("staging.secret", ("metrics",), (), ("staging",)))

    async def told(key: str) -> list[str]:
        answer = await prometheus.get("/metrics", headers={"authorization": f"Bearer {key}"})
        return [each for each in answer.text.splitlines() if each.startswith("causeway_environment_serving")]

    current, coming = (
        f'causeway_environment_serving{{model_id="m1",environment="{place}",deployment_id="d1",role="{role}"}} 1'
        for place, role in (("production", "current"), ("staging", "candidate"))
    )
    assert await told("wide.secret") == [current, coming]
    assert await told("staging.secret") == [coming]
    assert await told("narrow.secret") == []


async def test_a_scrape_without_the_right_key_is_told_what_to_do(prometheus: httpx.AsyncClient) -> None:
    nobody = await prometheus.get("/metrics")
    assert (nobody.status_code, "Authorization: Bearer" in nobody.json()["fix"]) == (401, True)
    assert nobody.headers["www-authenticate"].startswith("Bearer")
    caller = await prometheus.get("/metrics", headers={"authorization": "Bearer caller.secret"})
    assert (caller.status_code, "this needs the scope metrics" in caller.json()["message"]) == (403, True)


async def test_metrics_are_only_read_and_other_paths_are_not_its_business(prometheus: httpx.AsyncClient) -> None:
    headers = {"authorization": "Bearer wide.secret"}
    assert (await prometheus.post("/metrics", headers=headers)).headers["allow"] == "GET, HEAD"
    assert (await prometheus.head("/metrics", headers=headers)).status_code == 200
    assert (await prometheus.get("/metrics/more")).text == "the control API"
