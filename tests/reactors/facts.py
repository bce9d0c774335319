"""Events that the tests of reactors begin from, with no more to say than each test needs."""

from events.base import BlobDigest, BuildId, DeploymentId, ModelId, NodeId, PromotionId, ReplicaId
from events.build import BuildFailed, BuildRequested, BuildSucceeded
from events.environment import Cleanup, EnvironmentCreated, PromotionCompleted, PromotionSettings, PromotionStarted
from events.model import DeploymentPushed, ModelRegistered
from events.node import NodeJoined, NodeLost
from events.replica import ReplicaAssigned, ReplicaDraining, ReplicaFailed, ReplicaLost, ReplicaReady, ReplicaStopped
from events.scaling import (
    AutoscalingSettings,
    Grounds,
    ReplicaHoldReleased,
    ReplicasHeld,
    ReplicaTargetLowered,
    ReplicaTargetRaised,
    Rule,
    ScaledToZero,
)

M = ModelId("m")
BLOB = BlobDigest("sha256:00")
REGISTERED = ModelRegistered(model_id=M, name="iris", team="default")
AT_ONCE = PromotionSettings()
GROUNDS = Grounds(settings=AutoscalingSettings())


def pushed(
    deployment: str, environment: str | None = None, *, development: bool = False, scale_down_previous: bool = True
) -> DeploymentPushed:
    return DeploymentPushed(
        model_id=M,
        deployment_id=DeploymentId(deployment),
        number=1,
        name=deployment,
        is_development=development,
        source=BLOB,
        config=BLOB,
        raw_config=None,
        environment=environment,
        scale_down_previous=scale_down_previous,
        cpu_millicores=1000,
        memory_bytes=1 << 30,
        predict_concurrency=1,
        deploy_timeout_s=600,
        labels="{}",
        client="{}",
    )


def requested(deployment: str) -> BuildRequested:
    build = BuildId(f"b-{deployment}")
    return BuildRequested(build_id=build, model_id=M, deployment_id=DeploymentId(deployment), source=BLOB, config=BLOB)


def built(deployment: str) -> BuildSucceeded:
    return BuildSucceeded(
        build_id=BuildId(f"b-{deployment}"),
        deployment_id=DeploymentId(deployment),
        bundle=BLOB,
        environment=BLOB,
        python_version="3.11",
        truss_hash="h",
        truss_signature=BLOB,
        seconds=1.0,
    )


def build_failed(deployment: str) -> BuildFailed:
    return BuildFailed(
        build_id=BuildId(f"b-{deployment}"),
        deployment_id=DeploymentId(deployment),
        step="resolve",
        reason="no such package",
        seconds=1.0,
    )


def raised(deployment: str, target: int = 1, previous: int = 0) -> ReplicaTargetRaised:
    return ReplicaTargetRaised(
        deployment_id=DeploymentId(deployment), previous=previous, target=target, rule="activation", grounds=GROUNDS
    )


def lowered(deployment: str, target: int, previous: int) -> ReplicaTargetLowered:
    return ReplicaTargetLowered(
        deployment_id=DeploymentId(deployment), previous=previous, target=target, rule="promotion", grounds=GROUNDS
    )


def to_zero(deployment: str, rule: Rule = "quiet") -> ScaledToZero:
    return ScaledToZero(deployment_id=DeploymentId(deployment), previous=1, rule=rule, grounds=GROUNDS)


def held(deployment: str, promotion: str, at_least: int = 1) -> ReplicasHeld:
    return ReplicasHeld(deployment_id=DeploymentId(deployment), promotion_id=PromotionId(promotion), at_least=at_least)


def released(deployment: str, promotion: str) -> ReplicaHoldReleased:
    return ReplicaHoldReleased(deployment_id=DeploymentId(deployment), promotion_id=PromotionId(promotion))


def node(name: str, boot: str = "b1", cpu_millicores: int = 2000) -> NodeJoined:
    return NodeJoined(
        node_id=NodeId(name),
        boot_id=boot,
        host="h",
        cpu_millicores=cpu_millicores,
        memory_bytes=8 << 30,
        isolation="process",
    )


def node_lost(name: str) -> NodeLost:
    return NodeLost(node_id=NodeId(name), silent_for_s=15.0)


def assigned(deployment: str, ordinal: int = 1, on: str = "n1") -> ReplicaAssigned:
    return ReplicaAssigned(
        replica_id=ReplicaId(f"{deployment}-{ordinal}"),
        model_id=M,
        deployment_id=DeploymentId(deployment),
        node_id=NodeId(on),
        ordinal=ordinal,
        build_id=BuildId(f"b-{deployment}"),
        bundle=BLOB,
        environment=BLOB,
        python_version="3.11",
        cpu_millicores=1000,
        memory_bytes=1 << 30,
        predict_concurrency=1,
        reason="activation",
    )


def ready(deployment: str, ordinal: int = 1) -> ReplicaReady:
    replica_id = ReplicaId(f"{deployment}-{ordinal}")
    return ReplicaReady(replica_id=replica_id, deployment_id=DeploymentId(deployment), address="h:1", seconds=1.0)


def draining(deployment: str, ordinal: int = 1) -> ReplicaDraining:
    replica_id = ReplicaId(f"{deployment}-{ordinal}")
    return ReplicaDraining(replica_id=replica_id, deployment_id=DeploymentId(deployment), reason="quiet")


def stopped(deployment: str, ordinal: int = 1) -> ReplicaStopped:
    replica_id = ReplicaId(f"{deployment}-{ordinal}")
    return ReplicaStopped(
        replica_id=replica_id, deployment_id=DeploymentId(deployment), reason="drained", exit_code=143
    )


def failed(deployment: str, ordinal: int = 1) -> ReplicaFailed:
    replica_id = ReplicaId(f"{deployment}-{ordinal}")
    return ReplicaFailed(
        replica_id=replica_id, deployment_id=DeploymentId(deployment), stage="load", reason="boom", exit_code=1
    )


def lost(deployment: str, ordinal: int = 1) -> ReplicaLost:
    replica_id = ReplicaId(f"{deployment}-{ordinal}")
    return ReplicaLost(replica_id=replica_id, deployment_id=DeploymentId(deployment), reason="its node is gone")


def environment(name: str, **settings: int) -> EnvironmentCreated:
    return EnvironmentCreated(model_id=M, environment=name, autoscaling=AutoscalingSettings(**settings))  # type: ignore[arg-type]


def started(
    deployment: str,
    into: str = "production",
    previous: str | None = None,
    wanted: int = 1,
    settings: PromotionSettings = AT_ONCE,
) -> PromotionStarted:
    return PromotionStarted(
        promotion_id=PromotionId(f"p-{deployment}"),
        model_id=M,
        environment=into,
        deployment_id=DeploymentId(deployment),
        previous=DeploymentId(previous) if previous else None,
        wanted_replicas=wanted,
        cleanup="SCALE_TO_ZERO",
        deadline_s=600,
        settings=settings,
        current_replicas=wanted,
    )


def completed(
    deployment: str, into: str = "production", previous: str | None = None, cleanup: Cleanup = "SCALE_TO_ZERO"
) -> PromotionCompleted:
    return PromotionCompleted(
        promotion_id=PromotionId(f"p-{deployment}"),
        model_id=M,
        environment=into,
        deployment_id=DeploymentId(deployment),
        previous=DeploymentId(previous) if previous else None,
        cleanup=cleanup,
    )
