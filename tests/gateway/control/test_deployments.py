"""What can be done to a deployment over REST, and what is refused because an environment needs it."""

from events.base import DeploymentId, ReplicaId
from events.model import DeploymentCopied, DeploymentPushed
from events.replica import ReplicaDraining
from tests.gateway.control.reported import built_and_ready, current
from tests.gateway.control.stand import CONFIG, Stand


async def test_a_deployment_that_an_environment_needs_is_neither_deactivated_nor_deleted_unawares(stand: Stand) -> None:
    pushed = await stand.pushed()
    path = f"/v1/models/{pushed['model_id']}/deployments/{pushed['id']}"
    await stand.client.post(f"{path}/promote")
    for _ in ("while it is being promoted", "when it is current"):
        refused = await stand.client.post(f"{path}/deactivate")
        assert (refused.status_code, refused.json()["field"]) == (409, "force"), refused.text
        assert "production needs it" in refused.json()["message"]
        kept = await stand.client.delete(path)
        assert kept.status_code == 409 and "production needs it" in kept.json()["message"]
        if stand.views.environments.state.of(pushed["model_id"])["production"].active is not None:
            await built_and_ready(stand, pushed)
            await current(stand, pushed)
    for said in (f"{path}/deactivate?force=true", f"{path.replace(pushed['id'], 'production')}/deactivate"):
        assert (await stand.client.post(said)).json() == {"success": True}
        assert (await stand.client.get(path)).json()["status"] == "DEACTIVATING"
        assert (await stand.client.post(f"{path}/activate")).json() == {"success": True}
    assert (await stand.client.post(f"{path}/deactivate", json={"force": True})).json() == {"success": True}


async def test_a_terminated_replica_is_drained_and_one_that_is_not_there_is_named(stand: Stand) -> None:
    pushed = await stand.pushed()
    path = f"/v1/models/{pushed['model_id']}/deployments/{pushed['id']}"
    none = await stand.client.delete(f"{path}/replicas/r9")
    assert none.status_code == 404 and "it has none now" in none.json()["message"]
    await built_and_ready(stand, pushed, replicas=2)
    first, second = f"r0-{pushed['id']}", f"r1-{pushed['id']}"
    wrong = await stand.client.delete(f"{path}/replicas/r9")
    assert (wrong.status_code, wrong.json()["field"]) == (404, "replica_id")
    assert f"{first}, {second}" in wrong.json()["message"]
    for _ in range(2):  # once more changes nothing
        assert (await stand.client.delete(f"{path}/replicas/{second}")).json() == {"success": True}
    draining = [each for each in await stand.recorded() if isinstance(each, ReplicaDraining)]
    assert draining == [
        ReplicaDraining(
            replica_id=ReplicaId(second), deployment_id=DeploymentId(pushed["id"]), reason="terminated by a person"
        )
    ]
    assert (await stand.client.get(path)).json()["active_replica_count"] == 1


async def test_what_serves_elsewhere_is_promoted_as_a_copy_that_runs_the_same_build(stand: Stand) -> None:
    first = await stand.pushed()
    path = f"/v1/models/{first['model_id']}"
    await stand.client.post(f"{path}/environments", json={"name": "staging"})
    await stand.client.post(f"{path}/deployments/{first['id']}/promote")
    await built_and_ready(stand, first)
    await current(stand, first)
    staging = f"{path}/environments/staging/promote"
    copy = (await stand.client.post(staging, json={"deployment_id": first["id"]})).json()
    assert (copy["name"], copy["instance_type_name"]) == ("deployment-2", first["instance_type_name"])
    *_, pushed, copied = await stand.recorded()
    assert isinstance(pushed, DeploymentPushed) and isinstance(copied, DeploymentCopied)
    assert (pushed.deployment_id, pushed.environment, copied.original) == (copy["id"], "staging", first["id"])
    assert "serves production already" in copied.reason
    # What serves nowhere is promoted itself.
    again = await stand.client.post(staging, json={"deployment_id": copy["id"]})
    assert again.json()["id"] == copy["id"]
    busy = await stand.client.post(staging, json={"deployment_id": first["id"]})
    assert busy.status_code == 409 and copy["id"] in busy.json()["message"]


async def test_an_environment_keeps_its_instance_type_unless_told_otherwise(stand: Stand) -> None:
    first = await stand.pushed()
    path = f"/v1/models/{first['model_id']}"
    await stand.client.post(f"{path}/deployments/{first['id']}/promote")
    await built_and_ready(stand, first)
    await current(stand, first)
    large = CONFIG | {"resources": {"cpu": "2", "memory": "8Gi"}}
    pushed = await stand.pushed(config=large, environment_name="production")
    assert pushed["instance_type_name"] == "1x1"
    own = await stand.pushed(config=large, environment_name="production", preserve_env_instance_type=False)
    assert own["instance_type_name"] == "2x8"
    promote = f"{path}/environments/production/promote"
    copy = (await stand.client.post(promote, json={"deployment_id": own["id"]})).json()
    assert copy["id"] != own["id"] and copy["instance_type_name"] == "1x1"
    asked = {"deployment_id": own["id"], "preserve_env_instance_type": False}
    assert (await stand.client.post(promote, json=asked)).json()["id"] == own["id"]


async def test_a_deleted_environment_is_gone_and_production_never(stand: Stand) -> None:
    pushed = await stand.pushed()
    path = f"/v1/models/{pushed['model_id']}/environments"
    await stand.client.post(path, json={"name": "staging"})
    await stand.client.post(f"{path}/staging/promote", json={"deployment_id": pushed["id"]})
    active = await stand.client.delete(f"{path}/staging")
    assert active.status_code == 409 and "cancel it first" in active.json()["message"]
    await stand.client.post(f"{path}/staging/cancel_promotion")
    gone = await stand.client.delete(f"{path}/staging")
    assert gone.json() == {"name": "staging", "deleted": True, "model_id": pushed["model_id"]}
    for method in ("GET", "DELETE"):
        missing = await stand.client.request(method, f"{path}/staging")
        assert missing.status_code == 404 and "it has production" in missing.json()["message"]
    refused = await stand.client.delete(f"{path}/production")
    assert refused.status_code == 400 and "always exists" in refused.json()["message"]


async def test_a_deployment_is_renamed_and_labelled_and_a_name_that_is_taken_is_refused(stand: Stand) -> None:
    pushed, other = await stand.pushed(), await stand.pushed()
    path = f"/v1/models/{pushed['model_id']}/deployments/{pushed['id']}"
    said = (await stand.client.patch(path, json={"name": "winter", "labels": {"team": "ml"}})).json()
    assert (said["id"], said["name"], said["labels"]) == (pushed["id"], "winter", {"team": "ml"})
    assert (await stand.client.get(path)).json()["name"] == "winter"
    for wrong, status in (("no spaces", 400), ("development", 400), (other["name"], 409)):
        refused = await stand.client.patch(path, json={"name": wrong})
        assert (refused.status_code, refused.json()["field"]) == (status, "name"), refused.text
    assert (await stand.client.patch(path, json={"labels": {}})).json()["labels"] == {}
