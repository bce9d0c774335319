"""What the data plane's tests route by: events, and the views that fold them."""

from datetime import UTC, datetime
from typing import Any

from events.access import KeyIssued
from events.base import (
    Actor,
    BlobDigest,
    CommandId,
    CorrelationId,
    DeploymentId,
    Event,
    EventId,
    KeyId,
    Metadata,
    ModelId,
    Position,
    PromotionId,
    ReplicaId,
    StreamName,
)
from events.codec import Recorded
from events.environment import PromotionCompleted
from events.model import DeploymentPushed, ModelRegistered
from events.replica import ReplicaDraining, ReplicaFailed, ReplicaReady
from gateway.keys import hash_of
from projections.access import ACCESS
from projections.routing import ROUTING
from projections.view import View

KEY = "k1.correct-horse-battery"
MODEL = ModelId("m1")
ONE, TWO = DeploymentId("d1"), DeploymentId("d2")


class Happenings:
    """A history that grows, and the views that follow it."""

    def __init__(self) -> None:
        self.routing, self.access = View(ROUTING), View(ACCESS)
        self._position = 0

    def add(self, *events: Any) -> None:
        batch = tuple(self._recorded(event) for event in events)
        for view in (self.routing, self.access):
            view.fold(batch)
        for view in (self.routing, self.access):
            view.announce()

    def _recorded(self, event: Event) -> Recorded:
        self._position += 1
        meta = Metadata(
            id=EventId(f"e{self._position}"),
            command_id=CommandId(f"c{self._position}"),
            correlation_id=CorrelationId("test"),
            causation_id=None,
            actor=Actor("operator", "test"),
            at=datetime.now(UTC),
        )
        return Recorded(Position(self._position), StreamName("any", "1"), event, meta)  # type: ignore[arg-type]


def registered(model: ModelId = MODEL, name: str = "iris") -> ModelRegistered:
    return ModelRegistered(model_id=model, name=name, team="default")


def pushed(
    deployment: DeploymentId, *, model: ModelId = MODEL, development: bool = False, concurrency: int = 1000
) -> DeploymentPushed:
    return DeploymentPushed(
        model_id=model,
        deployment_id=deployment,
        number=1,
        name="deployment-1",
        is_development=development,
        source=BlobDigest("sha256:0"),
        config=BlobDigest("sha256:1"),
        raw_config=None,
        environment=None,
        scale_down_previous=False,
        cpu_millicores=1000,
        memory_bytes=1,
        predict_concurrency=concurrency,
        deploy_timeout_s=60,
        labels="{}",
        client="{}",
    )


def promoted(deployment: DeploymentId, environment: str = "production") -> PromotionCompleted:
    return PromotionCompleted(
        promotion_id=PromotionId("p"),
        model_id=MODEL,
        environment=environment,
        deployment_id=deployment,
        previous=None,
        cleanup="KEEP",
    )


def issued(
    key: str = KEY,
    scopes: tuple[str, ...] = ("invoke",),
    models: tuple[ModelId, ...] = (),
    environments: tuple[str, ...] = (),
) -> KeyIssued:
    key_id = KeyId(key.partition(".")[0])
    return KeyIssued(
        key_id=key_id, name="test", hash=hash_of(key), scopes=scopes, models=models, environments=environments
    )


def ready(replica: str, address: str, deployment: DeploymentId = ONE) -> ReplicaReady:
    return ReplicaReady(replica_id=ReplicaId(replica), deployment_id=deployment, address=address, seconds=1.0)


def failed(replica: str, deployment: DeploymentId = ONE) -> ReplicaFailed:
    return ReplicaFailed(
        replica_id=ReplicaId(replica), deployment_id=deployment, stage="run", reason="killed", exit_code=137
    )


def draining(replica: str, deployment: DeploymentId = ONE) -> ReplicaDraining:
    return ReplicaDraining(replica_id=ReplicaId(replica), deployment_id=deployment, reason="scaled down")
