"""Logs of an environment are those of all deployments that served it, each while it did."""

from events.base import DeploymentId, ModelId
from events.signals.log_lines import LogFiles, LogLine
from tests.gateway.control.reported import built_and_ready, current
from tests.gateway.control.stand import Stand


async def test_the_logs_of_an_environment_are_of_every_deployment_that_was_there(stand: Stand) -> None:
    first = await stand.pushed()
    path = f"/v1/models/{first['model_id']}/environments/production"
    assert (await stand.client.get(f"{path}/logs")).json() == {"logs": []}
    second = await stand.pushed()
    for each in (first, second):
        await stand.client.post(f"{path}/promote", json={"deployment_id": each["id"]})
        await built_and_ready(stand, each)
        await current(stand, each)
    one, two = stand.views.environments.state.of(ModelId(first["model_id"]))["production"].tenures
    assert (one.deployment_id, two.deployment_id) == (first["id"], second["id"])
    assert one.since <= two.since and one.until is not None and two.until is None
    second_ns = int(two.since.timestamp() * 1000) * 1_000_000
    files = LogFiles(stand.state / "logs")
    for deployment, ts_ns, text in (
        (first, int(one.since.timestamp() * 1e9) - 10**9, "before it was there"),
        (first, int(one.since.timestamp() * 1000) * 1_000_000, "of the first"),
        (first, int(one.until.timestamp() * 1000) * 1_000_000 + 10**9, "after it was there"),
        (second, second_ns - 10**9, "not yet there"),
        (second, second_ns, "of the second"),
    ):
        files.write(DeploymentId(deployment["id"]), LogLine(ts_ns=ts_ns, level="info", message=text, source="r1"))
    window = {"end_epoch_millis": second_ns // 1_000_000 + 60_000}

    async def messages(**query: str | int) -> list[str]:
        answer = await stand.client.get(f"{path}/logs", params={**window, **query})
        assert answer.status_code == 200, answer.text
        return [each["message"] for each in answer.json()["logs"]]

    assert await messages() == ["of the second", "of the first"]
    assert await messages(direction="asc") == ["of the first", "of the second"]
    assert await messages(limit=1) == ["of the second"]
    assert await messages(search_pattern="first$") == ["of the first"]
