"""A made-up but lifelike history of any length: models, their deployments, and the lives of replicas."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count

from events.base import (
    Actor,
    BlobDigest,
    BuildId,
    CommandId,
    CorrelationId,
    DeploymentId,
    EventId,
    Metadata,
    ModelId,
    NodeId,
    PromotionId,
    ReplicaId,
    StreamName,
    derive,
)
from events.environment import PromotionCompleted
from events.log import Draft
from events.model import DeploymentPushed, ModelRegistered
from events.replica import ReplicaAssigned, ReplicaDraining, ReplicaProcessStarted, ReplicaReady, ReplicaStopped
from events.scaling import Grounds, ReplicaTargetRaised
from events.union import AnyEvent

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
BLOB = BlobDigest("sha256:" + "0" * 64)
DEPLOYMENTS, REPLICAS = 4, 6
"""Per model, and per deployment."""
CHAIN = 20
"""Events that follow from one another, until somebody begins something again."""


def history(name: str) -> Iterator[tuple[StreamName, Draft]]:
    """Events with their aggregates, for ever, one decision each. Another name: the same events with other ids."""
    actor, chain, cause = Actor("reactor:placement", "internal"), CorrelationId(""), EventId("")
    for number, (stream, event) in enumerate(_events()):
        begins = number % CHAIN == 0
        if begins:
            chain = CorrelationId(_id(name, "chain", number))
        meta = Metadata(
            id=EventId(_id(name, "event", number)),
            command_id=CommandId(_id(name, "command", number)),
            correlation_id=chain,
            causation_id=None if begins else cause,
            actor=actor,
            at=BEGAN + timedelta(milliseconds=137 * number),
        )
        cause = meta.id
        yield stream, (event, meta)


def _id(name: str, what: str, number: int) -> str:
    """As long as what `derive` makes of it, in a tenth of the time: tables are filled with ten million of them."""
    return hashlib.sha256(f"{name}{what}{number}".encode()).hexdigest()[:24]


def _events() -> Iterator[tuple[StreamName, AnyEvent]]:
    for number in count():
        model = ModelId(derive("model", number))
        yield StreamName("model", model), ModelRegistered(model_id=model, name=f"model-{number}", team="default")
        previous: DeploymentId | None = None
        for turn in range(1, DEPLOYMENTS + 1):
            deployment = DeploymentId(derive(model, turn))
            yield StreamName("model", model), _pushed(model, deployment, turn)
            for ordinal in range(1, REPLICAS + 1):
                yield from _replica(model, deployment, ordinal)
            completed = PromotionCompleted(
                promotion_id=PromotionId(derive(deployment, "promotion")),
                model_id=model,
                environment="production",
                deployment_id=deployment,
                previous=previous,
                cleanup="SCALE_TO_ZERO",
            )
            yield StreamName("environment", f"{model}/production"), completed
            previous = deployment


def _pushed(model: ModelId, deployment: DeploymentId, turn: int) -> DeploymentPushed:
    return DeploymentPushed(
        model_id=model,
        deployment_id=deployment,
        number=turn,
        name=f"deployment-{turn}",
        is_development=False,
        source=BLOB,
        config=BLOB,
        raw_config=None,
        environment=None,
        scale_down_previous=False,
        cpu_millicores=1000,
        memory_bytes=2**30,
        predict_concurrency=4,
        deploy_timeout_s=1800,
        labels="{}",
        client="{}",
    )


def _replica(model: ModelId, deployment: DeploymentId, ordinal: int) -> Iterator[tuple[StreamName, AnyEvent]]:
    """One life: wanted, placed, started, ready, drained, stopped. The last ones of a deployment live on."""
    replica = ReplicaId(derive(deployment, ordinal))
    stream = StreamName("replica", replica)
    raised = ReplicaTargetRaised(
        deployment_id=deployment,
        previous=ordinal - 1,
        target=ordinal,
        rule="parked request",
        grounds=Grounds(parked=2, in_flight=ordinal),
    )
    yield StreamName("scaling", deployment), raised
    yield stream, _assigned(model, deployment, replica, ordinal)
    address = f"10.0.{ordinal}.7:{20000 + ordinal}"
    started = ReplicaProcessStarted(replica_id=replica, deployment_id=deployment, pid=1000 + ordinal, address=address)
    yield stream, started
    yield stream, ReplicaReady(replica_id=replica, deployment_id=deployment, address=address, seconds=3.25)
    if ordinal < REPLICAS - 1:
        yield stream, ReplicaDraining(replica_id=replica, deployment_id=deployment, reason="target lowered to 1")
        yield stream, ReplicaStopped(replica_id=replica, deployment_id=deployment, reason="drained", exit_code=0)


def _assigned(model: ModelId, deployment: DeploymentId, replica: ReplicaId, ordinal: int) -> ReplicaAssigned:
    return ReplicaAssigned(
        replica_id=replica,
        model_id=model,
        deployment_id=deployment,
        node_id=NodeId("node-1"),
        ordinal=ordinal,
        build_id=BuildId(derive(deployment, "build")),
        bundle=BLOB,
        environment=BLOB,
        python_version="3.11",
        cpu_millicores=1000,
        memory_bytes=2**30,
        predict_concurrency=4,
        reason="most free memory",
    )
