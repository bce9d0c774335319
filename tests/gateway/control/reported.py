"""What agents and reactors would have told the log, for tests that have only the API."""

from typing import Any

from events.base import BlobDigest, BuildId, DeploymentId, ModelId, NodeId, ReplicaId
from events.build import BuildRequested, BuildStarted, BuildSucceeded
from events.environment import PromotionCompleted, PromotionStarted
from events.replica import ReplicaAssigned, ReplicaReady
from events.scaling import Grounds, ReplicaTargetRaised
from tests.gateway.control.stand import Stand

DIGEST = BlobDigest("sha256:" + "0" * 64)


async def built_and_ready(stand: Stand, deployment: dict[str, Any], replicas: int = 1) -> None:
    did, mid, build = DeploymentId(deployment["id"]), ModelId(deployment["model_id"]), BuildId(f"b{deployment['id']}")
    await stand.happened(
        "build",
        build,
        BuildRequested(build_id=build, model_id=mid, deployment_id=did, source=DIGEST, config=DIGEST),
        BuildStarted(build_id=build, deployment_id=did, builder=NodeId("n1"), attempt=1),
        BuildSucceeded(
            build_id=build, deployment_id=did, bundle=DIGEST, environment=DIGEST, python_version="3.11",
            truss_hash="h", truss_signature=DIGEST, seconds=1.0,
        ),
    )  # fmt: skip
    raised = ReplicaTargetRaised(deployment_id=did, previous=0, target=replicas, rule="activation", grounds=Grounds())
    await stand.happened("scaling", did, raised)
    for number in range(replicas):
        replica = ReplicaId(f"r{number}-{did}")
        assigned = ReplicaAssigned(
            replica_id=replica, model_id=mid, deployment_id=did, node_id=NodeId("n1"), ordinal=number, build_id=build,
            bundle=DIGEST, environment=DIGEST, python_version="3.11", cpu_millicores=500, memory_bytes=1 << 29,
            predict_concurrency=1, reason="",
        )  # fmt: skip
        ready = ReplicaReady(replica_id=replica, deployment_id=did, address="127.0.0.1:1", seconds=0.1)
        await stand.happened("replica", replica, assigned, ready)


async def current(stand: Stand, deployment: dict[str, Any], environment: str = "production") -> None:
    """What the promotion reactor does when the candidate is ready."""
    active = stand.views.environments.state.of(ModelId(deployment["model_id"]))[environment].active
    assert isinstance(active, PromotionStarted)
    completed = PromotionCompleted(
        promotion_id=active.promotion_id, model_id=active.model_id, environment=environment,
        deployment_id=active.deployment_id, previous=active.previous, cleanup=active.cleanup,
    )  # fmt: skip
    await stand.happened("environment", f"{active.model_id}-{environment}", completed)
