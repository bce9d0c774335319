"""An environment goes back to what it was: the deployment and the settings, looked up in its own history."""

from events.environment import EnvironmentReverted, PromotionStarted
from tests.gateway.control.reported import built_and_ready, current
from tests.gateway.control.stand import Stand


async def test_an_environment_goes_back_to_what_it_was(stand: Stand) -> None:
    first = await stand.pushed()
    path = f"/v1/models/{first['model_id']}/environments/production"
    nothing = await stand.client.post(f"{path}/revert", json={"to_position": stand.views.position})
    assert (nothing.status_code, nothing.json()["field"]) == (400, "to_position")
    assert "nothing was current" in nothing.json()["message"]
    await stand.client.patch(f"{path}", json={"autoscaling_settings": {"max_replica": 3}})
    await stand.client.post(f"{path}/promote", json={"deployment_id": first["id"]})
    await built_and_ready(stand, first)
    await current(stand, first)
    good = stand.views.position
    second = await stand.pushed()
    await stand.client.post(f"{path}/promote", json={"deployment_id": second["id"]})
    await built_and_ready(stand, second)
    await current(stand, second)
    changes = {
        "autoscaling_settings": {"max_replica": 9, "min_replica": 2},
        "promotion_settings": {"rolling_deploy": True},
        "request_settings": {"call_deadline_s": 5},
    }
    await stand.client.patch(path, json=changes)
    before = await stand.client.get(path)
    preview = (await stand.client.post(f"{path}/revert", json={"to_position": good, "dry_run": True})).json()
    assert (await stand.client.get(path)).json() == before.json(), "a dry run changes nothing"
    assert (preview["before"]["deployment_id"], preview["after"]["deployment_id"]) == (second["id"], first["id"])
    assert (preview["promotes"], preview["after"]["autoscaling_settings"]["max_replica"]) == (True, 3)
    said = (await stand.client.post(f"{path}/revert", json={"to_position": good})).json()
    assert said == preview | {"dry_run": False}
    shown = (await stand.client.get(path)).json()
    assert shown["candidate_deployment"]["id"] == first["id"] and shown["current_deployment"]["id"] == second["id"]
    for kind in ("autoscaling_settings", "promotion_settings", "request_settings"):
        assert shown[kind] == before.json()[kind], "the settings come with the switch"
    decided = [each for each in await stand.recorded() if isinstance(each, EnvironmentReverted | PromotionStarted)]
    assert isinstance(decided[-2], EnvironmentReverted) and decided[-2].to_position == good
    busy = await stand.client.post(f"{path}/revert", json={"to_position": good})
    assert busy.status_code == 409 and "cancel it" in busy.json()["message"]
    forward = await stand.client.post(f"{path}/force_roll_forward_promotion")
    assert forward.status_code == 200, forward.text
    shown = (await stand.client.get(path)).json()
    assert shown["current_deployment"]["id"] == first["id"]
    assert (shown["autoscaling_settings"]["max_replica"], shown["autoscaling_settings"]["min_replica"]) == (3, 0)
    assert shown["promotion_settings"]["rolling_deploy"] is False
    assert shown["request_settings"]["call_deadline_s"] is None


async def test_a_revert_to_where_nothing_can_come_back_from_says_why(stand: Stand) -> None:
    first = await stand.pushed()
    path = f"/v1/models/{first['model_id']}"
    for position in (0, 10_000):
        wrong = await stand.client.post(f"{path}/environments/production/revert", json={"to_position": position})
        assert wrong.status_code == 400 and "where the log ends" in wrong.json()["message"]
    before = stand.views.position
    await stand.client.post(f"{path}/environments", json={"name": "staging"})
    early = await stand.client.post(f"{path}/environments/staging/revert", json={"to_position": before})
    assert early.status_code == 400 and "no environment staging" in early.json()["message"]
    good = stand.views.position
    for each in (first, await stand.pushed()):
        await stand.client.post(f"{path}/environments/production/promote", json={"deployment_id": each["id"]})
        await built_and_ready(stand, each)
        await current(stand, each)
        if each is first:
            good = stand.views.position
    await stand.client.post(f"{path}/environments/staging/promote", json={"deployment_id": first["id"]})
    await current(stand, first, "staging")
    elsewhere = await stand.client.post(f"{path}/environments/production/revert", json={"to_position": good})
    assert elsewhere.status_code == 409 and "serves staging now" in elsewhere.json()["message"]
    await stand.client.delete(f"{path}/environments/staging")
    assert (await stand.client.delete(f"{path}/deployments/{first['id']}")).status_code == 200
    gone = await stand.client.post(f"{path}/environments/production/revert", json={"to_position": good})
    assert gone.status_code == 409 and "deleted since" in gone.json()["message"]
