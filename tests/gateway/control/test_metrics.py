"""A key for some models or environments sees the metrics of these only."""

import msgspec
import pytest

from events.base import KeyId, ModelId
from gateway.control.metrics import seen_with
from gateway.insight.tallies import Tallies
from projections.access import Key
from tests.gateway.control.stand import INVOKE, Stand
from tests.gateway.insight.test_metrics import moment
from tests.gateway.insight.trips import trip


@pytest.mark.parametrize(
    ("models", "environments", "sees"),
    [
        ((), (), (2, 2)),
        (("own",), (), (1, 1)),
        (("other",), (), (0, 0)),
        ((), ("staging",), (0, 0)),
        ((), ("production",), (0, 2)),
    ],
)
async def test_what_a_narrow_key_sees(
    stand: Stand, models: tuple[str, ...], environments: tuple[str, ...], sees: tuple[int, int]
) -> None:
    pushed = await stand.pushed()
    names = {"own": pushed["model_id"]}
    tallies = Tallies()
    tallies.add(trip())
    series = next(iter(tallies.series.values()))
    whole = msgspec.structs.replace(
        moment("w1"),
        deployments={pushed["id"]: (1, 0, 0), "foreign": (1, 0, 0)},
        replicas={pushed["id"]: 1, "foreign": 1},
        series=[msgspec.structs.replace(series, model_id=each) for each in (pushed["model_id"], "foreign")],
    )
    allowed = tuple(ModelId(names.get(each, each)) for each in models)
    key = Key(KeyId("k"), "narrow", "", ("metrics",), "", allowed, environments)
    seen = seen_with(key, whole, stand.views.catalogue.state)
    assert (len(seen.deployments), len(seen.series)) == sees
    assert len(seen.replicas) == len(seen.deployments)


async def test_a_scrape_needs_the_scope_and_shows_what_the_key_is_for(stand: Stand) -> None:
    model_id = (await stand.pushed())["model_id"]
    tallies = Tallies()
    tallies.add(trip())
    stand.moments = [moment("w1", tallies)]
    asked = {"type": "WORKSPACE_EXPORT_METRICS"}
    wide = (await stand.client.post("/v1/api_keys", json=asked)).json()["api_key"]
    narrow = (await stand.client.post("/v1/api_keys", json={**asked, "model_ids": [model_id]})).json()["api_key"]
    for key, sees in ((wide, True), (narrow, False)):
        async with stand.client_with(key) as prometheus:
            answer = await prometheus.get("/metrics")
        assert answer.status_code == 200 and "causeway_gateway_log_position" in answer.text
        assert ('model_id="m1"' in answer.text) is sees
    async with stand.client_with(INVOKE) as caller:
        assert (await caller.get("/metrics")).status_code == 403
