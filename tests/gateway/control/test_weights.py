"""Weights wished for on nodes: by manifest or deployment, on all nodes or some, looked at, withdrawn."""

from events.base import BuildId, DeploymentId, ModelId, NodeId
from events.build import BuildRequested, BuildStarted, BuildSucceeded
from events.node import NodeJoined, NodeLost, WeightsPrefetched, WeightsPrefetchLate, WeightsPrefetchRequested
from events.weights import ManifestId, Mount, WeightsMirrored
from tests.gateway.control.reported import DIGEST
from tests.gateway.control.stand import Stand

PATH = "/v1/causeway/weights/prefetches"
A, B = ManifestId("a" * 64), ManifestId("b" * 64)
ROOM = {"boot_id": "1", "host": "10.0.0.1", "cpu_millicores": 1000, "memory_bytes": 1 << 30, "isolation": "process"}


async def with_weights(stand: Stand) -> DeploymentId:
    """A deployment that mounts two manifests, and three nodes, of which one is lost."""
    pushed = await stand.pushed()
    model, deployment, build = ModelId(pushed["model_id"]), DeploymentId(pushed["id"]), BuildId("b-1")
    mirrored = [
        WeightsMirrored(
            build_id=build, deployment_id=deployment, source="hf://o/m", mount_location=f"/w/{each[0]}", revision="r",
            manifest_id=each, files=1, bytes=1, chunks=1, bytes_read=1, bytes_stored=1, seconds=1.0,
        )
        for each in (A, B)
    ]  # fmt: skip
    await stand.happened(
        "build",
        build,
        BuildRequested(build_id=build, model_id=model, deployment_id=deployment, source=DIGEST, config=DIGEST),
        BuildStarted(build_id=build, deployment_id=deployment, builder=NodeId("n1"), attempt=1),
        *mirrored,
        BuildSucceeded(
            build_id=build, deployment_id=deployment, bundle=DIGEST, environment=DIGEST, python_version="3.11",
            truss_hash="h", truss_signature=DIGEST, seconds=1.0, weights=(Mount(A, "/w/a"), Mount(B, "/w/b")),
        ),
    )  # fmt: skip
    for node in ("n1", "n2", "n3"):
        await stand.happened("node", node, NodeJoined(node_id=NodeId(node), **ROOM))  # type: ignore[arg-type]
    await stand.happened("node", "n3", NodeLost(node_id=NodeId("n3"), silent_for_s=9.0))
    return deployment


async def test_what_a_deployment_mounts_is_wished_for_on_every_node_that_is_up(stand: Stand) -> None:
    deployment = await with_weights(stand)
    wished = (await stand.client.post(PATH, json={"deployment_id": deployment})).json()["prefetches"]
    pairs = [(each["node_id"], each["manifest_id"]) for each in wished]
    assert pairs == [("n1", A), ("n2", A), ("n1", B), ("n2", B)]
    again = await stand.client.post(PATH, json={"deployment_id": deployment})
    assert again.status_code == 200
    asked = [each for each in await stand.recorded() if isinstance(each, WeightsPrefetchRequested)]
    assert [(each.node_id, each.manifest_id) for each in asked] == pairs, "a wish is a wish once"
    await stand.happened(
        "node", "n1", WeightsPrefetchLate(node_id=NodeId("n1"), manifest_id=A, lack="room", reason="it is full")
    )
    got = WeightsPrefetched(
        node_id=NodeId("n2"), manifest_id=B, seconds=1.0, node_bytes=0, peer_bytes=0, mirror_bytes=1
    )
    await stand.happened("node", "n2", got)
    shown = (await stand.client.get(PATH)).json()["prefetches"]
    assert {(each["node_id"], each["manifest_id"], each["waits"]) for each in shown} == {
        ("n1", A, "it is full"), ("n1", B, None), ("n2", A, None)
    }  # fmt: skip


async def test_a_wish_is_withdrawn_where_it_is_named_or_everywhere(stand: Stand) -> None:
    await with_weights(stand)
    await stand.client.post(PATH, json={"manifest_id": A})
    one = await stand.client.post(f"{PATH}/withdraw", json={"manifest_id": A, "node_ids": ["n2"]})
    assert one.json() == {"withdrawn": [{"node_id": "n2", "manifest_id": A}]}
    assert [each["node_id"] for each in (await stand.client.get(PATH)).json()["prefetches"]] == ["n1"]
    assert len((await stand.client.post(f"{PATH}/withdraw", json={"manifest_id": A})).json()["withdrawn"]) == 1
    assert (await stand.client.post(f"{PATH}/withdraw", json={"manifest_id": A})).json() == {"withdrawn": []}


async def test_a_wish_that_cannot_be_says_why(stand: Stand) -> None:
    bare = await stand.pushed("bare")
    for body, status, field in (
        ({}, 400, "manifest_id"),
        ({"manifest_id": A, "deployment_id": bare["id"]}, 400, "manifest_id"),
        ({"manifest_id": A}, 404, "manifest_id"),
        ({"deployment_id": "nobody"}, 404, "deployment_id"),
        ({"deployment_id": bare["id"]}, 409, "deployment_id"),
    ):
        answer = await stand.client.post(PATH, json=body)
        assert (answer.status_code, answer.json()["field"]) == (status, field), answer.text
    deployment = await with_weights(stand)
    lost = await stand.client.post(PATH, json={"deployment_id": deployment, "node_ids": ["n3"]})
    assert lost.status_code == 409 and "n3 is lost" in lost.json()["message"]
    nobody = await stand.client.post(PATH, json={"deployment_id": deployment, "node_ids": ["n9"]})
    assert (nobody.status_code, nobody.json()["field"]) == (404, "node_id")
    some = await stand.client.post(PATH, json={"deployment_id": deployment, "node_ids": ["n1", "n3"]})
    none = await stand.client.post(PATH, json={"deployment_id": deployment, "node_ids": []})
    assert (some.status_code, none.status_code) == (409, 409)
    assert (await stand.client.get(PATH)).json()["prefetches"] == [], "nothing is half done"
