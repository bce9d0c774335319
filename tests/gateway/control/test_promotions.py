"""Promotion settings over REST, and what a person does with a promotion that is going on."""

from typing import Any

import pytest

from events.base import ModelId, NodeId
from events.environment import PromotionPaused, PromotionResumed, PromotionSettingsSet, PromotionStepped
from events.node import NodeJoined
from tests.gateway.control.reported import built_and_ready, current
from tests.gateway.control.stand import Stand

DEFAULTS = {
    "redeploy_on_promotion": False,
    "rolling_deploy": False,
    "promotion_cleanup_strategy": "SCALE_TO_ZERO",
    "rolling_deploy_config": {
        "rolling_deploy_strategy": "REPLICA",
        "max_surge_percent": 10,
        "max_unavailable_percent": 0,
        "stabilization_time_seconds": 0,
        "replica_overhead_percent": 0,
    },
    "ramp_up_while_promoting": False,
    "ramp_up_duration_seconds": 600,
    "ready_deadline_seconds": None,
    "rollback_on_not_ready": True,
    "rollback_error_rate_percent": None,
    "rollback_p95_ratio": None,
    "canary_percent": None,
}


async def place_of(stand: Stand) -> str:
    pushed = await stand.pushed()
    return f"/v1/models/{pushed['model_id']}/environments/production"


async def test_promotion_settings_are_those_of_the_specification_and_ours(stand: Stand) -> None:
    path = await place_of(stand)
    assert (await stand.client.get(path)).json()["promotion_settings"] == DEFAULTS
    config = {"max_surge_percent": 0, "max_unavailable_percent": 25, "stabilization_time_seconds": 5}
    asked = {
        "rolling_deploy": True,
        "rolling_deploy_config": config | {"replica_overhead_percent": None, "rolling_deploy_strategy": "REPLICA"},
        "promotion_cleanup_strategy": "KEEP",
        "rollback_error_rate_percent": 5,
        "canary_percent": 10,
        "ramp_up_duration_seconds": None,
    }
    assert (await stand.client.patch(path, json={"promotion_settings": asked})).json()["status"] == "ACCEPTED"
    assert (await stand.client.patch(path, json={"promotion_settings": asked})).json()["status"] == "UNCHANGED"
    wanted = DEFAULTS | {
        "rolling_deploy": True,
        "rolling_deploy_config": DEFAULTS["rolling_deploy_config"] | config,  # type: ignore[operator]
        "promotion_cleanup_strategy": "KEEP",
        "rollback_error_rate_percent": 5.0,
        "canary_percent": 10,
    }
    assert (await stand.client.get(path)).json()["promotion_settings"] == wanted
    off = {"promotion_settings": {"canary_percent": None, "rollback_error_rate_percent": None, "rolling_deploy": None}}
    await stand.client.patch(path, json=off)
    shown = (await stand.client.get(path)).json()["promotion_settings"]
    assert shown == wanted | {"canary_percent": None, "rollback_error_rate_percent": None}


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"rolling_deploi": True}, "rolling_deploi"),
        ({"rolling_deploy": "yes"}, "rolling_deploy"),
        ({"promotion_cleanup_strategy": "DELETE"}, "promotion_cleanup_strategy"),
        ({"rolling_deploy_config": []}, "rolling_deploy_config"),
        ({"rolling_deploy_config": 7}, "rolling_deploy_config"),
        ({"rolling_deploy_config": {"surge": 1}}, "surge"),
        ({"rolling_deploy_config": {"rolling_deploy_strategy": "BLUE"}}, "rolling_deploy_strategy"),
        ({"rolling_deploy_config": {"max_surge_percent": 51}}, "max_surge_percent"),
        ({"rolling_deploy_config": {"max_surge_percent": 0}}, "max_surge_percent"),
        ({"rolling_deploy_config": {"max_unavailable_percent": 10}}, "max_surge_percent"),
        ({"ramp_up_duration_seconds": 1.5}, "ramp_up_duration_seconds"),
        ({"rollback_p95_ratio": "2"}, "rollback_p95_ratio"),
        ({"rollback_p95_ratio": 0.5}, "rollback_p95_ratio"),
        ({"canary_percent": 100}, "canary_percent"),
    ],
)
async def test_a_wrong_promotion_setting_changes_nothing_and_is_named(stand: Stand, asked: Any, field: str) -> None:
    path = await place_of(stand)
    body = {"promotion_settings": asked, "request_settings": {"call_deadline_s": 9}}
    refused = await stand.client.patch(path, json=body)
    assert (refused.status_code, refused.json()["field"]) == (400, field), refused.text
    shown = (await stand.client.get(path)).json()
    assert shown["promotion_settings"] == DEFAULTS and shown["request_settings"]["call_deadline_s"] is None
    assert not [each for each in await stand.recorded() if isinstance(each, PromotionSettingsSet)]


async def test_a_promotion_is_paused_resumed_weighed_and_cancelled(stand: Stand) -> None:
    first = await stand.pushed()
    path = f"/v1/models/{first['model_id']}/environments/production"
    for action in ("pause", "resume", "cancel", "force_cancel", "force_roll_forward"):
        nothing = await stand.client.post(f"{path}/{action}_promotion")
        assert nothing.status_code == 409 and "no promotion to production is active" in nothing.json()["message"]
    await stand.client.post(f"{path}/promote", json={"deployment_id": first["id"]})
    early = await stand.client.post(f"{path}/set_canary_weight", json={"percent": 20})
    assert early.status_code == 409 and early.json()["field"] == "percent"
    unready = await stand.client.post(f"{path}/force_roll_forward_promotion")
    assert unready.status_code == 409 and "no replica" in unready.json()["message"]
    for action, status in (("pause", "PAUSED"), ("resume", "RELEASING")):
        assert (await stand.client.post(f"{path}/{action}_promotion")).json() == {"success": True}
        going = (await stand.client.get(path)).json()["in_progress_promotion"]
        assert (going["status"], going["percent_traffic_to_new_version"]) == (status, 0)
    await built_and_ready(stand, first)
    assert (await stand.client.post(f"{path}/set_canary_weight", json={"percent": 20})).json() == {"success": True}
    shown = (await stand.client.get(path)).json()
    assert shown["candidate_deployment"]["id"] == first["id"] and shown["current_deployment"] is None
    assert shown["in_progress_promotion"]["percent_traffic_to_new_version"] == 20
    assert (await stand.client.post(f"{path}/set_canary_weight", json={"percent": 100})).status_code == 400
    assert (await stand.client.post(f"{path}/set_canary_weight", json={})).status_code == 400
    forward = await stand.client.post(f"{path}/force_roll_forward_promotion")
    assert forward.json() == {"success": True}
    shown = (await stand.client.get(path)).json()
    assert (shown["current_deployment"]["id"], shown["in_progress_promotion"]) == (first["id"], None)
    kinds = {type(each) for each in await stand.recorded()}
    assert {PromotionPaused, PromotionResumed, PromotionStepped} <= kinds


async def test_a_forced_cancel_ends_a_promotion_at_once(stand: Stand) -> None:
    pushed = await stand.pushed()
    path = f"/v1/models/{pushed['model_id']}/environments/production"
    await stand.client.post(f"{path}/promote", json={"deployment_id": pushed["id"]})
    assert (await stand.client.post(f"{path}/force_cancel_promotion")).json() == {"success": True}
    assert (await stand.client.get(path)).json()["in_progress_promotion"] is None


async def test_an_environment_may_want_a_copy_for_each_promotion(stand: Stand) -> None:
    first = await stand.pushed()
    path = f"/v1/models/{first['model_id']}/environments/production"
    await stand.client.patch(path, json={"promotion_settings": {"redeploy_on_promotion": True}})
    copy = (await stand.client.post(f"{path}/promote", json={"deployment_id": first["id"]})).json()
    assert copy["id"] != first["id"]
    await built_and_ready(stand, copy)
    place = stand.views.environments.state.of(ModelId(first["model_id"]))["production"]
    assert place.current is None, "it is promoted as a push to the environment is"
    # Of the deployment that is current there is nothing to take another copy of.
    await stand.client.patch(path, json={"promotion_settings": {"redeploy_on_promotion": False}})
    await stand.client.post(f"{path}/promote", json={"deployment_id": copy["id"]})
    await current(stand, copy)
    await stand.client.patch(path, json={"promotion_settings": {"redeploy_on_promotion": True}})
    same = await stand.client.post(f"{path}/promote", json={"deployment_id": copy["id"]})
    assert same.json()["id"] == copy["id"]


async def test_a_preview_foretells_the_promotion_and_writes_nothing(stand: Stand) -> None:
    joined = NodeJoined(
        node_id=NodeId("n1"), boot_id="b", host="127.0.0.1", cpu_millicores=2000, memory_bytes=4 << 30,
        isolation="process",
    )  # fmt: skip
    await stand.happened("node", "n1", joined)
    first = await stand.pushed()
    path = f"/v1/models/{first['model_id']}/environments/production"
    await stand.client.patch(path, json={"autoscaling_settings": {"max_replica": 5}})
    await stand.client.post(f"{path}/promote", json={"deployment_id": first["id"]})
    await built_and_ready(stand, first, replicas=2)
    await current(stand, first)
    second = await stand.pushed()
    position = stand.views.position
    asked = {"deployment_id": second["id"], "dry_run": True}
    shown = (await stand.client.post(f"{path}/promote", json=asked)).json()
    assert stand.views.position == position, "nothing was written"
    assert (shown["before"]["routing"], shown["after"]["routing"]) == (
        {"production": "deployment-1"},
        {"production": "deployment-2"},
    )
    assert shown["before"]["replicas"] == {"deployment-2": "0 ready", "deployment-1": "2 ready"}
    assert shown["after"]["replicas"] == {"deployment-2": "2 ready", "deployment-1": "0"}
    assert shown["before"]["autoscaling_settings"]["max_replica"] == 1
    assert shown["after"]["autoscaling_settings"]["max_replica"] == 5
    # Each replica has 500 millicores; two of the node's four places are taken.
    assert shown["capacity"] == {"replicas": 2, "cpu_millicores": 500, "memory_mib": 512, "room_for": 2}
    assert (shown["copy"], shown["deadline_s"]) == (None, 3600)
    same = (await stand.client.post(f"{path}/promote", json=asked | {"deployment_id": first["id"]})).json()
    assert same["before"] == same["after"]
    await stand.client.post(f"{path}/promote", json={"deployment_id": second["id"]})
    third = await stand.pushed()
    busy = await stand.client.post(f"{path}/promote", json=asked | {"deployment_id": third["id"]})
    assert busy.status_code == 409 and second["id"] in busy.json()["message"]
