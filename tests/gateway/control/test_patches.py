"""Live reload at the control API: what is checked before the chain grows, and what a sync waits for."""

import asyncio
import json
from base64 import b64encode
from typing import Any

import pytest
from blake3 import blake3

from events.base import BlobDigest, BuildId, DeploymentId, ModelId, NodeId, ReplicaId
from events.build import BuildRequested, BuildStarted, BuildSucceeded
from events.model import DevelopmentPatched, DevelopmentSyncRequested
from events.replica import ReplicaAssigned, ReplicaPatched, ReplicaPatchFailed, ReplicaReady
from events.scaling import Grounds, ReplicaTargetRaised
from gateway.control.patches import content_hash
from tests.gateway.control.stand import TOOLCHAIN, Stand

ANSWER = "{ id name version_id succeeded needs_full_deploy error }"
STATE = "current_hash current_signature"


def source(code: str) -> dict[str, Any]:
    hashes = {"config.yaml": hashed("config"), "model": None, "model/model.py": hashed(code)}
    return {"content_hashes_by_path": hashes, "config": "model_name: iris", "requirements_file_requirements": []}


def hashed(text: str) -> str:
    return blake3(text.encode()).hexdigest()


def hash_of(signature: dict[str, Any]) -> str:
    return content_hash(signature["content_hashes_by_path"])


class Slot:
    """A development deployment, built from `source("0")`, and a client that watches it."""

    def __init__(self, stand: Stand, model_id: str, deployment_id: str) -> None:
        self.stand, self.model_id, self.id = stand, model_id, deployment_id
        self.replica = ReplicaId(f"{deployment_id}-1")
        self.path = f"/v1/models/{model_id}/deployments/development/patches"

    async def stage(self, before: str, after: str, **more: Any) -> dict[str, Any]:
        operation = {"type": "model_code", "body": {"action": "UPDATE", "path": "model.py", "content": after}}
        patch = {
            "prev_hash": hash_of(source(before)), "prev_signature": source(before), "next_hash": hash_of(source(after)),
            "next_signature": source(after), "patch_ops": [operation],
        } | more  # fmt: skip
        encoded = b64encode(json.dumps(patch).encode()).decode()
        field = "stage_patch_for_draft_truss"
        asked = f'mutation {{ {field}(id: "{self.model_id}", patch: "{encoded}") {ANSWER} }}'
        answered: dict[str, Any] = (await self.stand.graphql(asked))[field]
        return answered

    async def sync(self) -> dict[str, Any]:
        asked = f'mutation {{ sync_draft_truss(id: "{self.model_id}") {ANSWER} }}'
        answered: dict[str, Any] = (await self.stand.graphql(asked))["sync_draft_truss"]
        return answered

    async def watch_state(self) -> dict[str, Any]:
        fields = f"is_container_built_from_push django_patch_state {{ {STATE} }} container_patch_state {{ {STATE} }}"
        asked = f'{{ truss_watch_state(id: "{self.model_id}") {{ {fields} }} }}'
        answered: dict[str, Any] = (await self.stand.graphql(asked))["truss_watch_state"]
        return answered

    async def asked(self, count: int = 1) -> DevelopmentSyncRequested:
        async with asyncio.timeout(20):
            while True:
                found = [e for e in await self.stand.recorded() if isinstance(e, DevelopmentSyncRequested)]
                if len(found) >= count:
                    return found[-1]
                await asyncio.sleep(0.01)

    async def runs(self, number: int, attempt: int) -> None:
        event = ReplicaPatched(
            replica_id=self.replica, deployment_id=DeploymentId(self.id), number=number, attempt=attempt,
            restarted=False, seconds=0.1,
        )  # fmt: skip
        await self.stand.happened("replica", self.replica, event)

    async def fails(self, number: int, attempt: int, reason: str, needs_push: bool = False) -> None:
        event = ReplicaPatchFailed(
            replica_id=self.replica, deployment_id=DeploymentId(self.id), number=number, attempt=attempt,
            reason=reason, needs_push=needs_push,
        )  # fmt: skip
        await self.stand.happened("replica", self.replica, event)


async def slot_of(stand: Stand, replicas: int = 1) -> Slot:
    pushed = await stand.pushed(is_development=True)
    slot = Slot(stand, pushed["model_id"], pushed["id"])
    did, mid, build, blob = (
        DeploymentId(slot.id),
        ModelId(slot.model_id),
        BuildId("b"),
        BlobDigest("sha256:" + "0" * 64),
    )
    signature = await stand.blobs.put(json.dumps(source("0")).encode())
    await stand.happened(
        "build", build,
        BuildRequested(build_id=build, model_id=mid, deployment_id=did, source=blob, config=blob),
        BuildStarted(build_id=build, deployment_id=did, builder=NodeId("n1"), attempt=1),
        BuildSucceeded(
            build_id=build, deployment_id=did, bundle=blob, environment=blob, python_version="3.11",
            truss_hash=hash_of(source("0")), truss_signature=signature, seconds=1.0,
        ),
    )  # fmt: skip
    if replicas:
        raised = ReplicaTargetRaised(deployment_id=did, previous=0, target=1, rule="activation", grounds=Grounds())
        await stand.happened("scaling", did, raised)
        assigned = ReplicaAssigned(
            replica_id=slot.replica, model_id=mid, deployment_id=did, node_id=NodeId("n1"), ordinal=1, build_id=build,
            bundle=blob, environment=blob, python_version="3.11", cpu_millicores=500, memory_bytes=1 << 29,
            predict_concurrency=1, reason="",
        )  # fmt: skip
        ready = ReplicaReady(replica_id=slot.replica, deployment_id=did, address="127.0.0.1:1", seconds=0.1)
        await stand.happened("replica", slot.replica, assigned, ready)
    return slot


async def test_a_client_that_begins_to_watch_gets_what_was_pushed(stand: Stand) -> None:
    slot = await slot_of(stand)
    data = await stand.graphql(
        f'{{ model(id: "{slot.model_id}") {{ versions {{ is_draft truss_hash truss_signature }} }} }}'
    )
    (version,) = data["model"]["versions"]
    assert version["is_draft"] and version["truss_hash"] == hash_of(source("0"))
    assert json.loads(version["truss_signature"]) == source("0")
    assert await slot.watch_state() == {
        "is_container_built_from_push": True, "django_patch_state": None, "container_patch_state": None,
    }  # fmt: skip


async def test_a_sync_ends_with_the_replicas_word(stand: Stand) -> None:
    slot = await slot_of(stand)
    assert (await slot.stage("0", "1"))["succeeded"]
    state = await slot.watch_state()
    assert state["is_container_built_from_push"]
    assert state["django_patch_state"]["current_hash"] == hash_of(source("1"))
    assert state["container_patch_state"]["current_hash"] == hash_of(source("0"))
    syncing = asyncio.create_task(slot.sync())
    asked = await slot.asked()
    assert (asked.number, asked.attempt) == (1, 1) and not syncing.done()
    await slot.runs(1, 1)
    assert await syncing == {
        "id": slot.model_id, "name": "iris", "version_id": slot.id, "succeeded": True, "needs_full_deploy": False,
        "error": None,
    }  # fmt: skip
    state = await slot.watch_state()
    assert not state["is_container_built_from_push"]
    assert json.loads(state["container_patch_state"]["current_signature"]) == source("1")
    assert (await slot.sync())["succeeded"], "nothing is left to do"
    assert len([e for e in await stand.recorded() if isinstance(e, DevelopmentSyncRequested)]) == 1


async def test_what_fails_is_told_and_the_next_sync_tries_the_whole_chain(stand: Stand) -> None:
    slot = await slot_of(stand)
    await slot.stage("0", "1")
    syncing = asyncio.create_task(slot.sync())
    await slot.asked()
    await slot.fails(1, 1, "Hot reload failed: SyntaxError")
    answer = await syncing
    assert (answer["succeeded"], answer["needs_full_deploy"]) == (False, False) and "SyntaxError" in answer["error"]
    await slot.stage("1", "2")
    syncing = asyncio.create_task(slot.sync())
    asked = await slot.asked(2)
    assert (asked.number, asked.attempt) == (2, 2)
    await slot.fails(2, 2, "which is not in the chain", needs_push=True)
    assert (await syncing)["needs_full_deploy"]


async def test_with_no_replica_the_next_one_begins_with_it(stand: Stand) -> None:
    slot = await slot_of(stand, replicas=0)
    await slot.stage("0", "1")
    assert (await slot.sync())["succeeded"]


async def test_a_stale_patch_makes_the_client_push_again(stand: Stand) -> None:
    slot = await slot_of(stand)
    await slot.stage("0", "1")
    answer = await slot.stage("0", "2")
    assert (answer["succeeded"], answer["needs_full_deploy"]) == (False, True) and "push again" in answer["error"]


async def test_what_needs_a_build_makes_the_client_push_again(stand: Stand) -> None:
    slot = await slot_of(stand)
    operation = {"type": "system_package", "body": {"action": "ADD", "package": "ffmpeg"}}
    answer = await slot.stage("0", "1", patch_ops=[operation])
    assert (answer["succeeded"], answer["needs_full_deploy"]) == (False, True) and "system_package" in answer["error"]
    assert not [e for e in await stand.recorded() if isinstance(e, DevelopmentPatched)]


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"next_hash": "0" * 64}, "next_hash"),
        ({"patch_ops": []}, "patch_ops"),
        ({"patch_ops": [{"type": "model_code", "body": {"action": "MOVE"}}]}, "patch_ops[0].body.action"),
        ({"patch_ops": [{"type": "package", "body": {"action": "ADD", "path": "../x"}}]}, "patch_ops[0].body.path"),
        ({"patch_ops": [{"type": "package"}]}, "patch_ops[0]"),
    ],
)
async def test_a_malformed_patch_is_refused_by_field(stand: Stand, more: dict[str, Any], field: str) -> None:
    slot = await slot_of(stand)
    with pytest.raises(AssertionError, match="errors") as refused:
        await slot.stage("0", "1", **more)
    assert f"'field': '{field}'" in str(refused.value)


async def test_the_rest_routes_speak_of_the_same_chain(stand: Stand) -> None:
    slot = await slot_of(stand)
    state = (await stand.client.get(f"{slot.path}/state")).json()
    assert state["running_patch_point"]["hash"] == hash_of(source("0")) and state["pending_patch_point"] is None
    body = {
        "prev_patch_hash": state["running_patch_point"]["hash"],
        "next_patch_point": {"content_hashes": source("1")["content_hashes_by_path"], "config": "model_name: iris"},
        "patch_ops": [
            {"type": "model_code", "action": "UPDATE", "path": "model.py", "content": "1"},
            {"type": "environment_variable", "action": "ADD", "name": "A", "value": "b"},
            {"type": "config", "config": {"model_name": "iris"}},
        ],
    }
    answer = await stand.client.post(slot.path, json=body)
    assert answer.status_code == 200 and answer.json()["patch_point"]["hash"] == hash_of(source("1")), answer.text
    (event,) = [e for e in await stand.recorded() if isinstance(e, DevelopmentPatched)]
    bodies = {each["type"]: each["body"] for each in json.loads(await stand.blobs.read(event.patch))}
    assert bodies["environment_variable"] == {"action": "ADD", "item": {"A": "b"}}
    assert bodies["config"] == {"action": "UPDATE", "path": "config.yaml", "config": {"model_name": "iris"}}
    pending = (await stand.client.get(f"{slot.path}/state")).json()["pending_patch_point"]
    assert pending == answer.json()["patch_point"]
    syncing = asyncio.create_task(stand.client.post(f"{slot.path}/sync", json={}))
    await slot.asked()
    await slot.fails(1, 1, "Hot reload failed")
    assert (await syncing).status_code == 503
    stale = await stand.client.post(slot.path, json=body | {"next_patch_point": {"content_hashes": {}, "config": ""}})
    assert stale.status_code == 409 and stale.json()["code"] == "conflict", stale.text


async def test_a_development_deployment_has_at_most_one_replica(stand: Stand) -> None:
    slot = await slot_of(stand)
    path = f"/v1/models/{slot.model_id}/deployments/development/autoscaling_settings"
    refused = await stand.client.patch(path, json={"max_replica": 2})
    assert refused.status_code == 400 and refused.json()["field"] == "max_replica"
    assert (await stand.client.patch(path, json={"scale_down_delay": 60})).status_code == 200


async def test_the_hash_of_a_source_is_trusss_own(tmp_path: Any) -> None:
    for path in ("a/b", "a.b", "a/c/d", "config.yaml", "ü/x"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)
    script = (
        "import json, pathlib, sys; root = pathlib.Path(sys.argv[1]);"
        "from truss.truss_handle.patch import hash, dir_signature;"
        "print(json.dumps([hash.directory_content_hash(root), dir_signature.directory_content_signature(root)]))"
    )
    child = await asyncio.create_subprocess_exec(
        TOOLCHAIN / "bin" / "python", "-c", script, tmp_path, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await child.communicate()
    expected, hashes = json.loads(said)
    assert content_hash(hashes) == expected
