"""What a person with a truss client does to a development deployment, on one site: push, and save again and again."""

import json
from pathlib import Path
from typing import Any

from events.base import BlobDigest, DeploymentId, ModelId, ReplicaId, derive
from handlers.deciders.model import PatchDevelopment, PushDeployment, SyncDevelopment
from projections.stores.blobs import FolderBlobs
from tests.agents.node.site import NO_BLOB, R1, Site, identity

BASE = "b" * 64
M, D = ModelId("m"), DeploymentId(derive("deployment", identity("push")["id"]))


class Watcher:
    def __init__(self, site: Site, state: Path) -> None:
        self.site = site
        self.blobs = FolderBlobs(state / "blobs")
        self.state = state
        self.source = BASE
        self.saves = self.syncs = 0

    async def push(self, bundle: BlobDigest = NO_BLOB, environment: BlobDigest = NO_BLOB) -> None:
        await self.site.ask(
            PushDeployment(
                **identity("push"), model_id=M, model_name="m", team="t", name=None, is_development=True, source=bundle,
                config=bundle, raw_config=None, environment=None, scale_down_previous=True, cpu_millicores=1000,
                memory_bytes=1 << 30, predict_concurrency=1, deploy_timeout_s=600, labels="{}", client="{}",
            )
        )  # fmt: skip
        await self.assign(R1, bundle, environment)

    async def assign(
        self, replica_id: ReplicaId, bundle: BlobDigest = NO_BLOB, environment: BlobDigest = NO_BLOB
    ) -> None:
        await self.site.assign(replica_id, bundle=bundle, environment=environment, deployment_id=D)

    async def save(self, *operations: dict[str, Any], synced: bool = True) -> None:
        self.saves += 1
        before, self.source = self.source, derive("source", self.saves, length=64)
        patch = await self.blobs.put(json.dumps(operations).encode())
        await self.site.ask(
            PatchDevelopment(
                **identity(f"save-{self.saves}"), model_id=M, deployment_id=D, base_hash=BASE, from_hash=before,
                to_hash=self.source, patch=patch, signature=BlobDigest(patch), kinds=("model_code",),
            )
        )  # fmt: skip
        if synced:
            await self.sync()

    async def sync(self) -> None:
        self.syncs += 1
        await self.site.ask(SyncDevelopment(**identity(f"sync-{self.syncs}"), model_id=M, deployment_id=D))
