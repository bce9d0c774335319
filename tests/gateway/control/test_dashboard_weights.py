"""The dashboard's pages of weights: pinned, mirrored with progress, on nodes, needed or not; then, and as it was."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from events.base import BuildId, DeploymentId, ModelId, NodeId, Position, ReplicaId
from events.build import BuildFailed, BuildRequested, BuildStarted, BuildStopped, BuildSucceeded
from events.node import NodeJoined, NodeLeft, WeightsPrefetched, WeightsPrefetchLate, WeightsPrefetchRequested
from events.replica import ReplicaAssigned, ReplicaWeightsReady
from events.signals.log_lines import LogFiles, LogLine
from events.weights import ManifestId, Mount, WeightsMirrored, WeightsMirrorFailed, WeightsPinned
from projections.base import fold
from projections.stores.objects import FolderObjects
from projections.weights import WEIGHTS, Weights
from tests.agents.weights.goods import mirrored
from tests.gateway.control.dashboards import Checked, signed_in
from tests.gateway.control.reported import DIGEST
from tests.gateway.control.stand import Stand

SOURCE, PLACE, REVISION = "hf://owner/<b>model", "/weights/model", "c" * 40
FILES = {"config.json": b"{}", "model.safetensors": bytes(3 << 20)}
NODES = (NodeId("n1"), NodeId("n2"))


@pytest.fixture
async def browser(stand: Stand) -> AsyncIterator[httpx.AsyncClient]:
    async with signed_in(stand) as client:
        yield client


async def shown(browser: httpx.AsyncClient, path: str, status: int = 200) -> str:
    answer = await browser.get(f"/dashboard{path}")
    assert answer.status_code == status, (path, answer.status_code, answer.text[-300:])
    Checked(answer.text)
    return answer.text


class Life:
    """One deployment with weights, step by step as agents would tell it."""

    def __init__(self, stand: Stand, pushed: dict[str, str], manifest_id: ManifestId) -> None:
        self.stand, self.manifest_id = stand, manifest_id
        self.model, self.deployment = ModelId(pushed["model_id"]), DeploymentId(pushed["id"])
        self.build = BuildId(f"b-{self.deployment}")

    async def pinned(self) -> None:
        build, deployment = self.build, self.deployment
        await self.stand.happened(
            "build", build,
            BuildRequested(
                build_id=build, model_id=self.model, deployment_id=deployment, source=DIGEST, config=DIGEST
            ),
            BuildStarted(build_id=build, deployment_id=deployment, builder=NodeId("b"), attempt=1),
            WeightsPinned(
                build_id=build, deployment_id=deployment, source=SOURCE, mount_location=PLACE, revision=REVISION,
                files=2, bytes=3 << 20,
            ),
        )  # fmt: skip

    def printed(self, message: str) -> None:
        line = LogLine(ts_ns=int(datetime.now(UTC).timestamp() * 1e9), message=message, source="build")
        LogFiles(self.stand.state / "logs").write(self.deployment, line)

    async def failed(self) -> None:
        told = WeightsMirrorFailed(
            build_id=self.build, deployment_id=self.deployment, source=SOURCE, mount_location=PLACE, kind="private",
            reason="it needs a secret", seconds=1.0,
        )  # fmt: skip
        ended = BuildFailed(
            build_id=self.build, deployment_id=self.deployment, step="weights", reason="no", seconds=1.0
        )
        await self.stand.happened("build", self.build, told, ended)

    async def mirrored(self) -> None:
        told = WeightsMirrored(
            build_id=self.build, deployment_id=self.deployment, source=SOURCE, mount_location=PLACE, revision=REVISION,
            manifest_id=self.manifest_id, files=2, bytes=3 << 20, chunks=2, bytes_read=3 << 20, bytes_stored=1 << 20,
            seconds=1.0,
        )  # fmt: skip
        ended = BuildSucceeded(
            build_id=self.build, deployment_id=self.deployment, bundle=DIGEST, environment=DIGEST,
            python_version="3.11", truss_hash="h", truss_signature=DIGEST, seconds=1.0,
            weights=(Mount(self.manifest_id, PLACE),),
        )  # fmt: skip
        await self.stand.happened("build", self.build, told, ended)

    async def on_nodes(self) -> None:
        """A replica has them on the first; on the second somebody wants them, and they are late."""
        for node in NODES:
            joined = NodeJoined(
                node_id=node, boot_id="b", host="h", cpu_millicores=8000, memory_bytes=8 << 30, isolation="none"
            )
            await self.stand.happened("node", node, joined)
        replica = ReplicaId("r-1")
        assigned = ReplicaAssigned(
            replica_id=replica, model_id=self.model, deployment_id=self.deployment, node_id=NODES[0], ordinal=1,
            build_id=self.build, bundle=DIGEST, environment=DIGEST, python_version="3.11", cpu_millicores=500,
            memory_bytes=1 << 29, predict_concurrency=1, reason="", weights=(Mount(self.manifest_id, PLACE),),
        )  # fmt: skip
        ready = ReplicaWeightsReady(
            replica_id=replica, deployment_id=self.deployment, seconds=1.0, node_bytes=0, peer_bytes=1 << 20,
            mirror_bytes=2 << 20,
        )  # fmt: skip
        await self.stand.happened("replica", replica, assigned, ready)
        wish: dict[str, Any] = {"node_id": NODES[1], "manifest_id": self.manifest_id}
        await self.stand.happened(
            "node", NODES[1], WeightsPrefetchRequested(**wish),
            WeightsPrefetchLate(**wish, lack="room", reason="the disk is full"),
        )  # fmt: skip

    async def fetched_ahead_and_gone(self) -> None:
        done = WeightsPrefetched(
            node_id=NODES[1],
            manifest_id=self.manifest_id,
            seconds=1.0,
            node_bytes=0,
            peer_bytes=3 << 20,
            mirror_bytes=0,
        )
        await self.stand.happened("node", NODES[1], done)
        await self.stand.happened("node", NODES[0], NodeLeft(node_id=NODES[0], reason="drained"))

    async def position(self) -> Position:
        return await self.stand.log.head()


@pytest.fixture
async def life(stand: Stand) -> Life:
    manifest_id = await mirrored(FolderObjects(stand.state / "blobs"), FILES)
    return Life(stand, await stand.pushed(), manifest_id)


async def test_a_push_that_is_given_up_mirrors_no_more(stand: Stand, browser: httpx.AsyncClient, life: Life) -> None:
    await life.pinned()
    assert "Being mirrored" in await shown(browser, "/weights")
    assert f"are being mirrored: {3 << 20:,} bytes" in await shown(browser, f"/deployments/{life.deployment}")
    stopped = BuildStopped(build_id=life.build, deployment_id=life.deployment, reason="the deployment was deactivated")
    await stand.happened("build", life.build, stopped)
    page = await shown(browser, "/weights")
    assert "Being mirrored" not in page and "the deployment was deactivated" in page


async def test_from_a_pin_to_the_nodes_and_back_in_time(stand: Stand, browser: httpx.AsyncClient, life: Life) -> None:
    assert "No weights yet" in await shown(browser, "/weights")
    await life.pinned()
    assert "nothing is printed about it yet" in await shown(browser, "/weights")
    life.printed(f"weights {SOURCE}: 1.5 MB of 3.1 MB, 0 of 2 files, 1.0 MB/s from the source")
    moving, then = await shown(browser, "/weights"), await life.position()
    assert "Being mirrored" in moving and "1.5 MB of 3.1 MB, 0 of 2 files" in moving and "under way" in moving
    assert "hf://owner/&lt;b&gt;model" in moving and REVISION[:12] in moving

    await life.mirrored()
    page = await shown(browser, "/weights")
    assert "Being mirrored" not in page and f"/weights/{life.manifest_id}" in page
    assert f"/deployments/{life.deployment}" in page and "iris/deployment-1" in page and "3.15 MB" in page
    one = await shown(browser, f"/weights/{life.manifest_id}")
    assert "model.safetensors" in one and "config.json" in one and PLACE in one and ">needed<" in one
    assert "No node has had it yet." in one

    await life.on_nodes()
    one = await shown(browser, f"/weights/{life.manifest_id}")
    assert "1.05 MB from nodes, 2.1 MB from the store" in one and "for a replica" in one
    assert "wanted" in one and "the disk is full" in one
    await life.fetched_ahead_and_gone()
    one = await shown(browser, f"/weights/{life.manifest_id}")
    assert "fetched ahead" in one and "the disk is full" not in one and "for a replica" not in one

    was = await shown(browser, f"/weights?at={then}")
    assert "Being mirrored" in was and f"/weights/{life.manifest_id}" not in was
    await shown(browser, f"/weights/{life.manifest_id}?at={then}", 404)
    assert f'href="/dashboard/weights?find={life.deployment}"' in await shown(
        browser, f"/deployments/{life.deployment}"
    )


async def test_a_source_that_failed_says_why_and_what_nobody_needs_is_told(
    stand: Stand, browser: httpx.AsyncClient, life: Life
) -> None:
    await life.pinned()
    await life.failed()
    page = await shown(browser, "/weights")
    assert "it needs a secret" in page and "Being mirrored" not in page
    again = Life(stand, await stand.pushed(), life.manifest_id)
    await again.pinned()
    await again.mirrored()
    path = f"/v1/models/{again.model}/deployments/{again.deployment}"
    assert (await stand.client.delete(path)).status_code == 200
    one = await shown(browser, f"/weights/{life.manifest_id}")
    assert "needed by nobody" in one and "No deployment that is not deleted mounts it." in one
    (stand.state / "blobs" / "weights" / "manifests").rename(stand.state / "gone")
    assert "is not in the blob store" in await shown(browser, f"/weights/{life.manifest_id}")


async def test_weights_are_found_by_source_deployment_and_id(browser: httpx.AsyncClient, life: Life) -> None:
    await life.pinned()
    await life.mirrored()
    for find in ("OWNER", "iris/deployment-1", life.deployment, life.manifest_id[:9]):
        assert f"/weights/{life.manifest_id}" in await shown(browser, f"/weights?find={find}")
    assert "No weights are about &#x27;nothing&#x27;" in await shown(browser, "/weights?find=nothing")
    await shown(browser, "/weights/%2e%2e%2fetc", 404)


async def test_the_fold_forgets_what_is_deleted_and_who_never_got_any(stand: Stand, life: Life) -> None:
    await life.pinned()
    await life.mirrored()
    await life.on_nodes()
    weights: Weights = fold(WEIGHTS, await stand.log.read())
    assert set(weights.on_nodes[life.manifest_id]) == {NODES[0]} and weights.fetching == {}
    assert weights.pins[life.deployment][PLACE].manifest_id == life.manifest_id
