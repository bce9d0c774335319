"""What every frozen fixture must decode to, for ever: one entry a type and schema version.

`make golden` freezes the bytes of an entry that has no fixture yet. When a type gets a new schema version, its old
fixtures stay as they are, and their entries here become values of the new version, as the upcaster makes them.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from events.access import KeyIssued, KeyRevoked, SecretRemoved, SecretStored
from events.base import (
    Actor,
    BlobDigest,
    BuildId,
    CommandId,
    CorrelationId,
    DeploymentId,
    EventId,
    KeyId,
    Metadata,
    ModelId,
    NodeId,
    Position,
    PromotionId,
    ReplicaId,
    WebhookId,
)
from events.build import BuildFailed, BuildRequested, BuildStarted, BuildStepFinished, BuildStopped, BuildSucceeded
from events.environment import (
    Comparison,
    EnvironmentConfigured,
    EnvironmentCreated,
    EnvironmentDeleted,
    EnvironmentReverted,
    Figures,
    PromotionCancelled,
    PromotionCompleted,
    PromotionFailed,
    PromotionPaused,
    PromotionResumed,
    PromotionRolledBack,
    PromotionSettings,
    PromotionSettingsSet,
    PromotionStarted,
    PromotionStepped,
    RequestLimits,
    RequestLimitsSet,
)
from events.model import (
    DeploymentActivated,
    DeploymentCopied,
    DeploymentDeactivated,
    DeploymentDeleted,
    DeploymentFailed,
    DeploymentLabelled,
    DeploymentPushed,
    DeploymentRenamed,
    DeploymentRetried,
    DevelopmentPatched,
    DevelopmentSyncRequested,
    ModelDeleted,
    ModelRegistered,
)
from events.node import (
    NodeDraining,
    NodeJoined,
    NodeLeft,
    NodeLost,
    NodeResumed,
    WeightsFoundCorrupt,
    WeightsPrefetched,
    WeightsPrefetchFailed,
    WeightsPrefetchLate,
    WeightsPrefetchRequested,
    WeightsPrefetchWithdrawn,
)
from events.replica import (
    ReplicaAssigned,
    ReplicaDraining,
    ReplicaEnvironmentReady,
    ReplicaFailed,
    ReplicaLost,
    ReplicaPatched,
    ReplicaPatchFailed,
    ReplicaProcessStarted,
    ReplicaReady,
    ReplicaStopped,
    ReplicaUnready,
    ReplicaWeightsLate,
    ReplicaWeightsReady,
)
from events.scaling import (
    AutoscalingSettings,
    CapacityLacking,
    Grounds,
    MinimumScheduled,
    ReplicaHoldReleased,
    ReplicasHeld,
    ReplicaTargetLowered,
    ReplicaTargetRaised,
    ScaledToZero,
    ScalingConfigured,
    ScheduledMinimum,
)
from events.seal import LogSealed, LossAccepted
from events.union import AnyEvent
from events.webhook import (
    DeliveriesTaken,
    DeliveryGivenUp,
    RedeliveryRequested,
    RedeliverySucceeded,
    WebhookMoved,
    WebhookRegistered,
    WebhookRemoved,
)
from events.weights import (
    ChunkHash,
    ManifestId,
    Mount,
    WeightsDiscarded,
    WeightsMirrored,
    WeightsMirrorFailed,
    WeightsPinned,
)

MODEL, DEPLOYMENT, PREVIOUS = ModelId("k5xq2m3a7bcd"), DeploymentId("w7x2kq4zabcd"), DeploymentId("p3r5t7v2abcd")
BUILD, REPLICA, NODE = BuildId("b2c4d6f2abcd"), ReplicaId("r2s4t6u2abcd"), NodeId("node-1")
PROMOTION, KEY = PromotionId("m2n4p6q2abcd"), KeyId("k2l4m6n2")
WEBHOOK = WebhookId("w2b4h6k2m4n6")
SOURCE, CONFIG = BlobDigest("sha256:" + "1" * 64), BlobDigest("sha256:" + "2" * 64)
RAW_CONFIG, BUNDLE = BlobDigest("sha256:" + "3" * 64), BlobDigest("sha256:" + "4" * 64)
ENVIRONMENT = BlobDigest("sha256:" + "5" * 64)
SIGNATURE = BlobDigest("sha256:" + "9" * 64)
MOUNTS = (Mount(ManifestId("8" * 64), "/weights/base"),)
PATCH = BlobDigest("sha256:" + "a" * 64)
SETTINGS = AutoscalingSettings(
    min_replica=1,
    max_replica=8,
    autoscaling_window_s=30,
    scale_down_delay_s=600,
    concurrency_target=4,
    target_utilization_percent=80,
    max_scale_down_rate_percent=25,
    burst=False,
    schedule=(ScheduledMinimum(cron="0 8 * * 1-5", timezone="Europe/Berlin", for_s=36000, min_replica=3),),
)
PROMOTION_SETTINGS = PromotionSettings(
    rolling_deploy=True,
    max_surge_percent=0,
    max_unavailable_percent=25,
    stabilization_s=30,
    replica_overhead_percent=50,
    ramp_up_while_promoting=True,
    ramp_up_duration_s=300,
    cleanup="KEEP",
    redeploy_on_promotion=True,
    ready_deadline_s=900,
    rollback_on_not_ready=False,
    rollback_error_rate_percent=2.5,
    rollback_p95_ratio=1.5,
    canary_percent=5,
)
IN_PROMOTION: dict[str, Any] = {
    "promotion_id": PROMOTION,
    "model_id": MODEL,
    "environment": "production",
    "deployment_id": DEPLOYMENT,
}
GROUNDS = Grounds(
    parked=3,
    in_flight=5,
    queued=2,
    mean=7.25,
    burst_mean=9.5,
    window_filled=True,
    serving=True,
    other_side=1,
    wake=True,
    below_for_s=0.5,
    quiet_for_s=1.5,
    scheduled_min=2,
    wanted=4,
    settings=SETTINGS,
    settings_position=Position(41),
    promotion_id=PROMOTION,
    note="größer",
)

META = Metadata(
    id=EventId("abcdefghijklmnopqrstuvwx"),
    command_id=CommandId("bcdefghijklmnopqrstuvwxy"),
    correlation_id=CorrelationId("cdefghijklmnopqrstuvwxyz"),
    causation_id=EventId("defghijklmnopqrstuvwxyz2"),
    actor=Actor(name="reactor:autoscale", how="internal"),
    at=datetime(2026, 11, 21, 20, 4, 5, 678901, tzinfo=UTC),
    index=1,
    count=3,
)

_EVENTS: tuple[AnyEvent, ...] = (
    ModelRegistered(model_id=MODEL, name="iris", team="default"),
    DeploymentPushed(
        model_id=MODEL,
        deployment_id=DEPLOYMENT,
        number=3,
        name="deployment-3",
        is_development=False,
        source=SOURCE,
        config=CONFIG,
        raw_config=RAW_CONFIG,
        environment="production",
        scale_down_previous=True,
        cpu_millicores=1500,
        memory_bytes=2_147_483_648,
        predict_concurrency=4,
        deploy_timeout_s=1800,
        labels='{"team":"ml"}',
        client='{"truss":"0.18.36"}',
    ),
    DeploymentCopied(
        model_id=MODEL, deployment_id=DEPLOYMENT, original=PREVIOUS, reason="it is current in staging as well"
    ),
    DevelopmentPatched(
        model_id=MODEL,
        deployment_id=DEPLOYMENT,
        number=2,
        from_hash="7" * 64,
        to_hash="8" * 64,
        patch=PATCH,
        signature=SIGNATURE,
        kinds=("config", "model_code"),
    ),
    DevelopmentSyncRequested(model_id=MODEL, deployment_id=DEPLOYMENT, number=2, attempt=3),
    DeploymentFailed(model_id=MODEL, deployment_id=DEPLOYMENT, reason="load() raised"),
    DeploymentRenamed(model_id=MODEL, deployment_id=DEPLOYMENT, name="winter-größe"),
    DeploymentLabelled(model_id=MODEL, deployment_id=DEPLOYMENT, labels='{"team": "größe"}'),
    DeploymentRetried(model_id=MODEL, deployment_id=DEPLOYMENT, attempt=2),
    DeploymentDeactivated(model_id=MODEL, deployment_id=DEPLOYMENT, reason="asked"),
    DeploymentActivated(model_id=MODEL, deployment_id=DEPLOYMENT),
    DeploymentDeleted(model_id=MODEL, deployment_id=DEPLOYMENT),
    ModelDeleted(model_id=MODEL),
    BuildRequested(build_id=BUILD, model_id=MODEL, deployment_id=DEPLOYMENT, source=SOURCE, config=CONFIG),
    BuildStarted(build_id=BUILD, deployment_id=DEPLOYMENT, builder=NODE, attempt=1),
    BuildStepFinished(
        build_id=BUILD, deployment_id=DEPLOYMENT, step="resolve", seconds=2.25, reused=True, detail="12 packages"
    ),
    WeightsPinned(
        build_id=BUILD,
        deployment_id=DEPLOYMENT,
        source="hf://owner/model",
        mount_location="/weights/base",
        revision="c" * 40,
        files=7,
        bytes=14_000_000_000,
    ),
    WeightsMirrored(
        build_id=BUILD,
        deployment_id=DEPLOYMENT,
        source="hf://owner/model",
        mount_location="/weights/base",
        revision="c" * 40,
        manifest_id=ManifestId("8" * 64),
        files=7,
        bytes=14_000_000_000,
        chunks=9000,
        bytes_read=700_000_000,
        bytes_stored=650_000_000,
        seconds=61.5,
    ),
    WeightsMirrorFailed(
        build_id=BUILD,
        deployment_id=DEPLOYMENT,
        source="hf://owner/model",
        mount_location="/weights/base",
        kind="private",
        reason="hf://owner/model is gated: accept its terms on the hub",
        seconds=0.5,
    ),
    WeightsDiscarded(
        manifests=(ManifestId("8" * 64), ManifestId("9" * 64)),
        chunks=9000,
        bytes=14_000_000_000,
        older_than_h=24.0,
        needed_manifests=3,
    ),
    BuildSucceeded(
        build_id=BUILD,
        deployment_id=DEPLOYMENT,
        bundle=BUNDLE,
        environment=ENVIRONMENT,
        python_version="3.11",
        truss_hash="6" * 64,
        truss_signature=SIGNATURE,
        seconds=31.5,
        weights=MOUNTS,
    ),
    BuildFailed(build_id=BUILD, deployment_id=DEPLOYMENT, step="resolve", reason="no such package", seconds=1.0),
    BuildStopped(build_id=BUILD, deployment_id=DEPLOYMENT, reason="deployment deleted"),
    EnvironmentCreated(model_id=MODEL, environment="staging", autoscaling=SETTINGS),
    EnvironmentConfigured(model_id=MODEL, environment="staging", autoscaling=SETTINGS),
    RequestLimitsSet(
        model_id=MODEL,
        environment="staging",
        limits=RequestLimits(
            park_deadline_s=60,
            call_deadline_s=30,
            idle_timeout_s=20,
            total_deadline_s=600,
            prefix_affinity_bytes=512,
        ),
    ),
    PromotionSettingsSet(model_id=MODEL, environment="staging", settings=PROMOTION_SETTINGS),
    PromotionStepped(**IN_PROMOTION, percent=40, ready=2, candidate_replicas=3, current_replicas=3, held=True),
    PromotionPaused(**IN_PROMOTION),
    PromotionResumed(**IN_PROMOTION),
    PromotionRolledBack(
        **IN_PROMOTION,
        outcome="FAILED",
        reason="12 % of its answers were errors, against 0 %",
        figures=Comparison(
            over_s=60.0,
            candidate=Figures(requests=50, errors=6, p95_s=0.25),
            current=Figures(requests=500, errors=0, p95_s=None),
        ),
        percent=20,
    ),
    PromotionStarted(
        promotion_id=PROMOTION,
        model_id=MODEL,
        environment="production",
        deployment_id=DEPLOYMENT,
        previous=PREVIOUS,
        wanted_replicas=2,
        cleanup="SCALE_TO_ZERO",
        deadline_s=1800,
        settings=PROMOTION_SETTINGS,
        current_replicas=2,
    ),
    PromotionCompleted(
        promotion_id=PROMOTION,
        model_id=MODEL,
        environment="production",
        deployment_id=DEPLOYMENT,
        previous=None,
        cleanup="KEEP",
    ),
    PromotionFailed(
        promotion_id=PROMOTION,
        model_id=MODEL,
        environment="production",
        deployment_id=DEPLOYMENT,
        reason="not ready in time",
    ),
    PromotionCancelled(
        promotion_id=PROMOTION, model_id=MODEL, environment="production", deployment_id=DEPLOYMENT, reason="asked"
    ),
    EnvironmentDeleted(model_id=MODEL, environment="staging"),
    EnvironmentReverted(
        model_id=MODEL,
        environment="production",
        to_position=Position(41),
        deployment_id=PREVIOUS,
        autoscaling=SETTINGS,
        promotion=PROMOTION_SETTINGS,
        limits=RequestLimits(call_deadline_s=30),
    ),
    ScalingConfigured(deployment_id=DEPLOYMENT, settings=SETTINGS, source="environment production"),
    ReplicaTargetRaised(deployment_id=DEPLOYMENT, previous=0, target=2, rule="parked request", grounds=GROUNDS),
    ReplicaTargetLowered(deployment_id=DEPLOYMENT, previous=4, target=2, rule="maximum", grounds=GROUNDS),
    ScaledToZero(deployment_id=DEPLOYMENT, previous=1, rule="quiet", grounds=Grounds()),
    ReplicasHeld(deployment_id=DEPLOYMENT, promotion_id=PROMOTION, at_least=2),
    ReplicaHoldReleased(deployment_id=DEPLOYMENT, promotion_id=PROMOTION),
    CapacityLacking(deployment_id=DEPLOYMENT, reason="no node has 1500 millicores free"),
    MinimumScheduled(deployment_id=DEPLOYMENT, min_replica=3, until=datetime(2026, 11, 23, 17, tzinfo=UTC)),
    ReplicaAssigned(
        replica_id=REPLICA,
        model_id=MODEL,
        deployment_id=DEPLOYMENT,
        node_id=NODE,
        ordinal=2,
        build_id=BUILD,
        bundle=BUNDLE,
        environment=ENVIRONMENT,
        python_version="3.11",
        cpu_millicores=1500,
        memory_bytes=2_147_483_648,
        predict_concurrency=4,
        reason="most free memory",
        weights=MOUNTS,
    ),
    ReplicaEnvironmentReady(replica_id=REPLICA, deployment_id=DEPLOYMENT, seconds=4.5, reused=False),
    ReplicaWeightsReady(
        replica_id=REPLICA,
        deployment_id=DEPLOYMENT,
        seconds=12.5,
        node_bytes=4096,
        peer_bytes=1_073_741_824,
        mirror_bytes=16_777_216,
    ),
    ReplicaWeightsLate(
        replica_id=REPLICA, deployment_id=DEPLOYMENT, lack="room", reason="the node's weights cache has no room"
    ),
    ReplicaProcessStarted(replica_id=REPLICA, deployment_id=DEPLOYMENT, pid=4242, address="127.0.0.1:40123"),
    ReplicaReady(replica_id=REPLICA, deployment_id=DEPLOYMENT, address="127.0.0.1:40123", seconds=3.75),
    ReplicaPatched(replica_id=REPLICA, deployment_id=DEPLOYMENT, number=2, attempt=3, restarted=True, seconds=2.5),
    ReplicaPatchFailed(
        replica_id=REPLICA,
        deployment_id=DEPLOYMENT,
        number=2,
        attempt=3,
        reason="Hot reload failed: SyntaxError",
        needs_push=False,
    ),
    ReplicaUnready(replica_id=REPLICA, deployment_id=DEPLOYMENT, reason="readiness probe: 503"),
    ReplicaDraining(replica_id=REPLICA, deployment_id=DEPLOYMENT, reason="target lowered"),
    ReplicaStopped(replica_id=REPLICA, deployment_id=DEPLOYMENT, reason="drained", exit_code=0),
    ReplicaFailed(
        replica_id=REPLICA, deployment_id=DEPLOYMENT, stage="load", reason="ValueError: no weights", exit_code=None
    ),
    ReplicaLost(replica_id=REPLICA, deployment_id=DEPLOYMENT, reason="node-1 lost"),
    NodeJoined(
        node_id=NODE,
        boot_id="7f3c",
        host="127.0.0.1",
        cpu_millicores=8000,
        memory_bytes=17_179_869_184,
        isolation="bubblewrap",
        weights_address="127.0.0.1:40200",
    ),
    NodeResumed(node_id=NODE, boot_id="6f2c"),
    NodeDraining(node_id=NODE, reason="asked to stop"),
    NodeLost(node_id=NODE, silent_for_s=30.5),
    NodeLeft(node_id=NODE, reason="asked to stop"),
    WeightsFoundCorrupt(node_id=NODE, chunk=ChunkHash("ab" * 32), tier="peer", source="node-2"),
    WeightsPrefetchRequested(node_id=NODE, manifest_id=ManifestId("cd" * 32)),
    WeightsPrefetched(
        node_id=NODE,
        manifest_id=ManifestId("cd" * 32),
        seconds=12.5,
        node_bytes=1000,
        peer_bytes=200_000,
        mirror_bytes=3_000_000,
    ),
    WeightsPrefetchLate(node_id=NODE, manifest_id=ManifestId("cd" * 32), lack="room", reason="the disk is full"),
    WeightsPrefetchFailed(node_id=NODE, manifest_id=ManifestId("cd" * 32), reason="the mirror has no such manifest"),
    WeightsPrefetchWithdrawn(node_id=NODE, manifest_id=ManifestId("cd" * 32)),
    KeyIssued(key_id=KEY, name="laptop", hash="7" * 64, scopes=("invoke",), models=(MODEL,), environments=("staging",)),
    KeyRevoked(key_id=KEY),
    SecretStored(name="hf_access_token", version="x2y4z6a2"),
    SecretRemoved(name="hf_access_token"),
    WebhookRegistered(
        webhook_id=WEBHOOK,
        url="https://example.com/hook",
        types=("Replica*", "PromotionCompleted"),
        entities=(MODEL,),
        after=Position(41),
        description="pager",
    ),
    WebhookMoved(webhook_id=WEBHOOK, url="https://example.com/new"),
    WebhookRemoved(webhook_id=WEBHOOK),
    DeliveryGivenUp(
        webhook_id=WEBHOOK, position=Position(42), event_id=EventId("e42"), attempts=12, reason="answered 500"
    ),
    RedeliveryRequested(webhook_id=WEBHOOK, position=Position(42), asked=1),
    RedeliverySucceeded(webhook_id=WEBHOOK, position=Position(42), attempts=1),
    DeliveriesTaken(holder="node-b", instead_of="node-a", silent_for_s=10.5),
    LogSealed(first=Position(5001), last=Position(10000), hash="a" * 64, previous_hash="b" * 64),
    LossAccepted(first=Position(4201), last=Position(4250)),
)

_LATER_VERSIONS: Mapping[str, AnyEvent] = MappingProxyType({})
"""`"Name/2": Name(…)` for a type whose second schema version is written today, and so on."""

VALUES: Mapping[str, AnyEvent] = MappingProxyType(
    {f"{type(event).__name__}/1": event for event in _EVENTS} | {**_LATER_VERSIONS}
)
"""By `<type>/<schema version>`: the name of the fixture without `.json`."""
