"""Models, deployments, environments, promotions, settings and logs over REST, in the specified shapes."""

import asyncio
import time
from typing import Any

import pytest

from events.base import BuildId, DeploymentId, ModelId, NodeId
from events.build import BuildFailed, BuildRequested
from events.environment import PromotionStarted
from events.node import NodeJoined
from events.scaling import ScalingConfigured
from events.signals.log_lines import LogFiles, LogLine
from tests.gateway.control.reported import DIGEST, built_and_ready, current
from tests.gateway.control.stand import CONFIG, Stand

DEPLOYMENT = {
    "id", "created_at", "name", "model_id", "is_production", "is_development", "status", "active_replica_count",
    "autoscaling_settings", "instance_type_name", "environment", "labels",
}  # fmt: skip
MODEL = {
    "id", "created_at", "name", "deployments_count", "production_deployment_id", "development_deployment_id",
    "instance_type_name", "team_name",
}  # fmt: skip
ENVIRONMENT = {
    "name", "created_at", "model_id", "current_deployment", "candidate_deployment", "in_progress_promotion",
    "autoscaling_settings", "promotion_settings", "instance_type",
}  # fmt: skip
SETTINGS = {
    "min_replica", "max_replica", "autoscaling_window", "scale_down_delay", "concurrency_target",
    "target_utilization_percentage", "target_in_flight_tokens", "max_scale_down_rate",
    "burst", "schedule",
}  # fmt: skip
WORKDAY = {"cron": "0 8 * * 1-5", "timezone": "Europe/Berlin", "duration": 36000, "min_replica": 2}


async def test_a_push_over_rest_from_preparation_to_the_config_that_was_pushed(stand: Stand) -> None:
    payload = {"config": CONFIG, "raw_config": "model_name: iris\n", "labels": {"a": 1}, "new_client_field": 1}
    prepared = await stand.client.post("/v1/prepare_model_upload", json={"name": "iris", "deployment": payload})
    answer = prepared.json()
    assert set(answer) == {"creds", "s3_bucket", "s3_key", "s3_region"}
    assert {"aws_access_key_id", "aws_secret_access_key", "aws_session_token"} <= set(answer["creds"])
    source = {"kind": "model_archive", "name": "iris", "s3_key": await stand.uploaded(), "deployment": payload}
    made = await stand.client.post("/v1/models", json={"source": source})
    assert made.status_code == 200, made.text
    assert set(made.json()["model"]) >= MODEL and set(made.json()["deployment"]) >= DEPLOYMENT
    deployment = made.json()["deployment"]
    assert set(deployment["autoscaling_settings"]) == SETTINGS
    assert (deployment["status"], deployment["instance_type_name"], deployment["labels"]) == (
        "BUILDING",
        "1x1",
        {"a": 1},
    )
    assert deployment["reason"] and deployment["reason_position"] <= int(made.headers["x-causeway-position"])
    again = await stand.client.post("/v1/models", json={"source": source})
    assert again.json()["deployment"]["id"] == deployment["id"]
    source["s3_key"] = await stand.uploaded()
    taken = await stand.client.post("/v1/models", json={"source": source})
    assert taken.status_code == 409 and taken.json()["field"] == "name"
    path = f"/v1/models/{deployment['model_id']}/deployments/{deployment['id']}"
    config = (await stand.client.get(f"{path}/config")).json()
    assert config == {"config": CONFIG, "raw_config": "model_name: iris\n"}
    assert (await stand.client.get(f"{path}/config?output_format=raw")).json()["config"] is None
    assert (await stand.client.get(f"{path}/config?output_format=x")).status_code == 400


async def test_a_dry_run_gives_no_credentials_and_wrong_preparations_name_the_field(stand: Stand) -> None:
    def body(**changes: Any) -> dict[str, Any]:
        return {"name": "iris", "deployment": {"config": CONFIG}, **changes}

    dry = await stand.client.post("/v1/prepare_model_upload", json=body(dry_run=True))
    assert dry.json()["creds"] is None
    wrong = [
        (body(model_id="x"), 400, "name"),
        (body(name=None, model_id="x"), 404, "model_id"),
        (body(name=""), 400, "model_name"),
        (body(name="a\nb"), 400, "model_name"),
        (body(deployment={"config": {"model_nam": 1}}), 400, "model_nam"),
        (body(deployment={"config": CONFIG, "environment_name": "nope"}), 404, "environment_name"),
        (body(deployment={"config": CONFIG, "is_development": True, "deployment_name": "x"}), 400, "is_development"),
        (body(deployment={"config": []}), 400, "deployment.config"),
    ]
    for sent, status, field in wrong:
        answer = await stand.client.post("/v1/prepare_model_upload", json=sent)
        assert (answer.status_code, answer.json().get("field")) == (status, field), answer.text


async def test_what_does_not_exist_is_named(stand: Stand) -> None:
    model_id = (await stand.pushed())["model_id"]
    for path, field in [
        ("/v1/models/nope", "model_id"),
        (f"/v1/models/{model_id}/deployments/nope", "deployment_id"),
        (f"/v1/models/{model_id}/deployments/production", "env_name"),
        (f"/v1/models/{model_id}/deployments/development", "deployment_id"),
        (f"/v1/models/{model_id}/environments/nope", "env_name"),
    ]:
        answer = await stand.client.get(path)
        assert (answer.status_code, answer.json()["field"]) == (404, field), answer.text


async def test_a_failed_status_says_its_reason_and_can_be_retried(stand: Stand) -> None:
    pushed = await stand.pushed()
    path = f"/v1/models/{pushed['model_id']}/deployments/{pushed['id']}"
    refused = (await stand.client.post(f"{path}/retry")).json()
    assert refused["retried"] is False and "BUILDING" in refused["reason"]
    did, mid = DeploymentId(pushed["id"]), ModelId(pushed["model_id"])
    build = BuildId("b1")
    await stand.happened(
        "build",
        build,
        BuildRequested(build_id=build, model_id=mid, deployment_id=did, source=DIGEST, config=DIGEST),
        BuildFailed(build_id=build, deployment_id=did, step="resolve", reason="no such package: nump", seconds=1.0),
    )
    failed = (await stand.client.get(path)).json()
    assert failed["status"] == "BUILD_FAILED" and "nump" in failed["reason"]
    assert failed["reason_position"] == stand.views.position
    retried = (await stand.client.post(f"{path}/retry")).json()
    assert retried["retried"] is True and set(retried["deployment"]) >= DEPLOYMENT


async def test_a_promotion_asks_for_as_many_replicas_as_serve_now(stand: Stand) -> None:
    first = await stand.pushed()
    path = f"/v1/models/{first['model_id']}"
    promoted = await stand.client.post(f"{path}/deployments/{first['id']}/promote")
    assert promoted.status_code == 200 and set(promoted.json()) >= DEPLOYMENT
    await built_and_ready(stand, first, replicas=3)
    await current(stand, first)
    shown = (await stand.client.get(f"{path}/deployments/production")).json()
    assert (shown["id"], shown["is_production"], shown["environment"], shown["status"]) == (
        first["id"], True, "production", "ACTIVE",
    )  # fmt: skip
    second = await stand.pushed(deploy_timeout_minutes=20)
    body = {"deployment_id": second["id"], "scale_down_previous_deployment": False}
    assert (await stand.client.post(f"{path}/environments/production/promote", json=body)).status_code == 200
    started = [event for event in await stand.recorded() if isinstance(event, PromotionStarted)]
    assert [(e.wanted_replicas, e.cleanup, e.deadline_s) for e in started] == [
        (1, "SCALE_TO_ZERO", 3600),
        (3, "KEEP", 1200),
    ]
    environment = (await stand.client.get(f"{path}/environments/production")).json()
    assert set(environment) >= ENVIRONMENT
    assert environment["candidate_deployment"]["id"] == second["id"]
    assert environment["in_progress_promotion"]["percent_traffic_to_new_version"] == 0
    third = await stand.pushed()
    busy = await stand.client.post(f"{path}/deployments/{third['id']}/promote", json={})
    assert busy.status_code == 409 and "cancel" in busy.json()["message"]
    cancelled = await stand.client.post(f"{path}/environments/production/cancel_promotion")
    assert cancelled.json()["status"] == "CANCELED"
    assert (await stand.client.post(f"{path}/environments/production/cancel_promotion")).status_code == 409
    in_use = await stand.client.delete(f"{path}/deployments/{first['id']}")
    assert in_use.status_code == 409 and "production" in in_use.json()["message"]
    assert (await stand.client.delete(f"{path}/deployments/{third['id']}")).json()["deleted"] is True


async def test_a_deactivated_deployment_is_activated_to_be_promoted_and_a_development_one_never(stand: Stand) -> None:
    first = await stand.pushed()
    path = f"/v1/models/{first['model_id']}/deployments"
    assert (await stand.client.post(f"{path}/{first['id']}/deactivate")).json() == {"success": True}
    assert (await stand.client.get(f"{path}/{first['id']}")).json()["status"] == "INACTIVE"
    promoted = await stand.client.post(f"{path}/{first['id']}/promote")
    assert promoted.json()["status"] == "BUILDING"
    development = await stand.pushed(is_development=True)
    refused = await stand.client.post(f"{path}/development/promote")
    assert refused.status_code == 400 and "truss push --promote" in refused.json()["message"]
    assert (await stand.client.get(f"{path}/development")).json()["id"] == development["id"]


async def test_autoscaling_settings_follow_the_environment_and_misspelt_ones_are_refused(stand: Stand) -> None:
    first = await stand.pushed()
    path = f"/v1/models/{first['model_id']}"
    own = f"{path}/deployments/{first['id']}/autoscaling_settings"
    accepted = await stand.client.patch(own, json={"max_replica": 4, "scale_down_delay": 60, "min_replica": None})
    assert accepted.json()["status"] == "ACCEPTED"
    assert (await stand.client.patch(own, json={"max_replica": 4})).json()["status"] == "UNCHANGED"
    assert isinstance((await stand.recorded())[-1], ScalingConfigured)
    for body, said in [
        ({"max_replicas": 2}, "max_replicas"),
        ({"min_replica": 9}, "min_replica"),
        ({"max_replica": "2"}, "whole number"),
        ({"target_in_flight_tokens": 1}, "not there yet"),
        ({"scale_down_delay": 4000}, "from 0 to 3600"),
        ({"burst": "no"}, "burst must be true or false"),
        ({"schedule": {}}, "schedule must be a list"),
        ({"schedule": [{"cron": "0 8 * * *", "min_replica": 1}]}, "schedule[0]: duration is missing"),
        ({"schedule": [WORKDAY | {"cron": "0 25 * * *"}]}, "schedule[0].cron '0 25 * * *'"),
        ({"schedule": [WORKDAY | {"min_replica": 9}]}, "from 1 to max_replica (4), not 9"),
    ]:
        answer = await stand.client.patch(own, json=body)
        assert answer.status_code == 400 and said in answer.json()["message"], answer.text
    unchanged = (await stand.client.get(f"{path}/deployments/{first['id']}")).json()["autoscaling_settings"]
    assert (unchanged["max_replica"], unchanged["scale_down_delay"], unchanged["burst"]) == (4, 60, True)
    await stand.client.patch(own, json={"burst": False, "schedule": [WORKDAY]})
    with_ours = (await stand.client.get(f"{path}/deployments/{first['id']}")).json()["autoscaling_settings"]
    assert (with_ours["burst"], with_ours["schedule"]) == (False, [WORKDAY])
    await stand.client.post(f"{path}/deployments/{first['id']}/promote")
    await current(stand, first)
    assert (
        await stand.client.patch(f"{path}/deployments/production/autoscaling_settings", json={"max_replica": 6})
    ).json()["status"] == "ACCEPTED"
    environment = (await stand.client.get(f"{path}/environments/production")).json()
    assert environment["autoscaling_settings"]["max_replica"] == 6
    assert environment["autoscaling_settings"]["scale_down_delay"] == 60
    assert environment["current_deployment"]["autoscaling_settings"]["max_replica"] == 6


async def test_an_environment_takes_request_settings_and_shows_them(stand: Stand) -> None:
    path = f"/v1/models/{(await stand.pushed())['model_id']}/environments"
    asked = {"name": "staging", "request_settings": {"call_deadline_s": 30}}
    made = (await stand.client.post(path, json=asked)).json()
    assert made["request_settings"]["call_deadline_s"] == 30 and made["request_settings"]["idle_timeout_s"] is None
    change = {"request_settings": {"call_deadline_s": None, "idle_timeout_s": 20}}
    assert (await stand.client.patch(f"{path}/staging", json=change)).json()["status"] == "ACCEPTED"
    assert (await stand.client.patch(f"{path}/staging", json=change)).json()["status"] == "UNCHANGED"
    shown = (await stand.client.get(f"{path}/staging")).json()["request_settings"]
    assert (shown["call_deadline_s"], shown["idle_timeout_s"]) == (None, 20)
    for bad, field in (
        ({"idle_timeout": 1}, "idle_timeout"),
        ({"idle_timeout_s": "1"}, "idle_timeout_s"),
        ({"idle_timeout_s": 0}, "idle_timeout_s"),
    ):
        refused = await stand.client.patch(f"{path}/staging", json={"request_settings": bad})
        assert refused.status_code == 400 and field in refused.json()["message"]


async def test_environments_are_created_changed_and_listed(stand: Stand) -> None:
    path = f"/v1/models/{(await stand.pushed())['model_id']}/environments"
    body = {"name": "staging", "autoscaling_settings": {"min_replica": 1}}
    made = await stand.client.post(path, json=body)
    assert set(made.json()) >= ENVIRONMENT and made.json()["autoscaling_settings"]["min_replica"] == 1
    assert (await stand.client.post(path, json=body)).status_code == 409
    assert (await stand.client.post(path, json={"name": "Bad Name"})).json()["field"] == "name"
    changed = await stand.client.patch(f"{path}/staging", json={"autoscaling_settings": {"max_replica": 3}})
    assert changed.json()["status"] == "ACCEPTED"
    listed = (await stand.client.get(path)).json()["environments"]
    assert [each["name"] for each in listed] == ["production", "staging"]
    pushed = await stand.pushed(environment_name="staging")
    promote = await stand.client.post(f"{path}/staging/promote", json={"deployment_id": pushed["id"]})
    assert promote.status_code == 200
    await current(stand, pushed, "staging")
    assert (await stand.client.post(f"{path}/staging/deactivate")).json() == {"success": True}
    assert (await stand.client.post(f"{path}/staging/activate")).json() == {"success": True}


async def test_log_lines_are_found_by_time_level_text_and_replica(stand: Stand) -> None:
    pushed = await stand.pushed()
    logs, now = LogFiles(stand.state / "logs"), time.time_ns()
    for index, (source, level, text) in enumerate(
        [("build", "info", "resolving"), ("r1", "warning", "slow load"), ("r1", "critical", "it broke")]
    ):
        line = LogLine(ts_ns=now - 1000 + index, level=level, message=text, source=source)  # type: ignore[arg-type]
        logs.write(DeploymentId(pushed["id"]), line)
    path = f"/v1/models/{pushed['model_id']}/deployments/{pushed['id']}/logs"

    async def messages(**query: Any) -> list[str]:
        answer = await stand.client.post(path, json=query)
        assert answer.status_code == 200, answer.text
        return [each["message"] for each in answer.json()["logs"]]

    newest = (await stand.client.post(path, json={})).json()["logs"][0]
    assert newest == {
        "timestamp": str(now - 998), "message": "it broke", "replica": "r1", "request_id": None, "level": "ERROR",
    }  # fmt: skip
    assert await messages(direction="asc", limit=2) == ["resolving", "slow load"]
    assert await messages(min_level="ERROR") == ["it broke"]
    assert await messages(replica="r1", excludes=["broke"]) == ["slow load"]
    assert await messages(component="build") == ["resolving"]
    assert await messages(replica="../r1") == []
    assert await messages(includes=["slow", "load"]) == ["slow load"]
    assert await messages(search_pattern="^s.*d$") == ["slow load"]
    assert await messages(search_pattern="i", limit=1) == ["it broke"]
    assert await messages(end_epoch_millis=1000, start_epoch_millis=0) == []
    got = await stand.client.get(f"{path}?limit=1&direction=asc&includes=e&includes=g")
    assert [each["message"] for each in got.json()["logs"]] == ["resolving"]
    for wrong in (
        {"limit": 0},
        {"min_level": "LOUD"},
        {"start_epoch_millis": -1},
        {"direction": "up"},
        {"search_pattern": "("},
    ):
        assert (await stand.client.post(path, json=wrong)).status_code == 400


async def test_a_read_can_demand_a_position_and_is_told_when_it_must_wait(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    position = stand.views.position
    reached = await stand.client.get(f"/v1/models?min_position={position}")
    assert reached.headers["x-causeway-position"] == str(position)
    monkeypatch.setattr("gateway.control.identity.MIN_POSITION_DEADLINE_S", 0.01)
    ahead = await stand.client.get("/v1/models", headers={"X-Causeway-Min-Position": str(position + 99)})
    assert ahead.status_code == 503 and ahead.headers["retry-after"]
    for wrong in ("soon", "9" * 5000):
        assert (await stand.client.get(f"/v1/models?min_position={wrong}")).status_code == 400


async def test_the_same_idempotency_key_is_the_same_request(stand: Stand) -> None:
    pushed = await stand.pushed()
    path = f"/v1/models/{pushed['model_id']}/deployments/{pushed['id']}"
    headers = {"Idempotency-Key": "once"}
    await stand.client.post(f"{path}/deactivate", headers=headers)
    await stand.client.post(f"{path}/activate")
    await stand.client.post(f"{path}/deactivate", headers=headers)
    assert (await stand.client.get(path)).json()["status"] == "BUILDING"


async def test_the_status_page_and_the_instance_types_tell_what_the_nodes_are(stand: Stand) -> None:
    joined = NodeJoined(
        node_id=NodeId("n1"), boot_id="b", host="127.0.0.1", cpu_millicores=2000, memory_bytes=9 << 30,
        isolation="process",
    )  # fmt: skip
    await stand.happened("node", "n1", joined)
    await built_and_ready(stand, await stand.pushed())
    status = (await stand.client.get("/v1/causeway/status")).json()
    assert (status["position"], status["stale_for_s"]) == (stand.views.position, None)
    assert status["nodes"][0]["status"] == "up"
    only = status["deployments"][0]
    assert (only["model_name"], only["status"], only["target"], only["replicas"][0]["phase"]) == (
        "iris", "ACTIVE", 1, "ready",
    )  # fmt: skip
    types = (await stand.client.get("/v1/instance_types")).json()["instance_types"]
    assert [each["name"] for each in types] == ["1x2", "1x4", "2x8", "2x9"]
    required = {"id", "name", "memory_limit_mib", "millicpu_limit", "gpu_count", "gpu_type", "gpu_memory_limit_mib"}
    assert set(types[0]) == required


async def test_a_deleted_model_is_gone(stand: Stand) -> None:
    model_id = (await stand.pushed())["model_id"]
    assert set((await stand.client.get("/v1/models")).json()["models"][0]) >= MODEL
    assert (await stand.client.delete(f"/v1/models/{model_id}")).json() == {"id": model_id, "deleted": True}
    assert (await stand.client.get(f"/v1/models/{model_id}")).status_code == 404


async def test_a_pattern_made_to_take_for_ever_ends(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.control.line_search.DEADLINE_S", 0.3)
    pushed = await stand.pushed()
    line = LogLine(ts_ns=time.time_ns() - 1, message="a" * 60, source="r1")
    LogFiles(stand.state / "logs").write(DeploymentId(pushed["id"]), line)
    path = f"/v1/models/{pushed['model_id']}/deployments/{pushed['id']}/logs"
    answer = await stand.client.post(path, json={"search_pattern": "(a+)+$b"})
    assert answer.status_code == 400 and answer.json()["field"] == "search_pattern"


async def test_the_same_upload_pushed_twice_at_once_is_one_deployment(stand: Stand) -> None:
    body = {"source": {"name": "iris", "s3_key": await stand.uploaded(), "deployment": {"config": CONFIG}}}
    answers = await asyncio.gather(*(stand.client.post("/v1/models", json=body) for _ in range(4)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["deployment"]["id"] for answer in answers}) == 1
    assert len(stand.views.catalogue.state.deployments) == 1
