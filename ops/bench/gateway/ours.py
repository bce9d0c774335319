"""Our own side: a nats-server, a log in which a deployment has two ready replicas, and the real gateway process.

The events are appended like any others, the gateway folds them as it starts; the key is one that the log knows.
"""

import asyncio
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from events.access import KeyIssued
from events.base import (
    ORIGIN,
    Actor,
    BlobDigest,
    CommandId,
    CorrelationId,
    DeploymentId,
    EventId,
    KeyId,
    Metadata,
    ModelId,
    Position,
    PromotionId,
    ReplicaId,
    StreamName,
    derive,
)
from events.environment import PromotionCompleted
from events.log import Draft, Log
from events.log.jetstream import JetStreamLog
from events.model import DeploymentPushed, ModelRegistered
from events.replica import ReplicaReady
from events.union import AnyEvent
from gateway.keys import hash_of
from ops.bench.gateway.peers import Command, Place
from ops.bench.log import server
from ops.config import CHECKOUT, load
from ops.local.nats_server import NatsAddress

KEY = "bench.nothing-secret-about-this-one"
HEADERS = f"Authorization: Bearer {KEY}\r\n"
MODEL = ModelId("benched")
ONE, TWO = DeploymentId("one"), DeploymentId("two")
PATH = f"/model-{MODEL}/environments/production/v1/chat/completions"
BLOB = BlobDigest("sha256:" + "0" * 64)

_numbers = count()


@dataclass(frozen=True)
class Plane:
    """A log with something in it, which gateways can follow."""

    nats: NatsAddress

    def gateway(self, place: Place) -> Command:
        """The same process that `causeway up` starts, with a state folder of its own."""
        settings = load({}).but(
            state=place.folder / "state",
            port=place.port,
            nats_url=self.nats.url,
            nats_monitor_url=self.nats.monitor_url,
            log_level="warning",
        )
        env = {"PYTHONPATH": str(CHECKOUT), "PATH": "/usr/bin:/bin"} | settings.environ()
        return Command((sys.executable, "-m", "ops.serve", "gateway"), env, PATH, HEADERS)


@contextmanager
def plane(folder: Path, replicas: Sequence[int]) -> Iterator[Plane]:
    """Production is deployment one, with a ready replica at each of these ports; so has deployment two."""
    with server(folder) as nats:
        asyncio.run(_tell(nats, replicas))
        yield Plane(nats)


async def connected(nats: NatsAddress) -> JetStreamLog:
    return await JetStreamLog.connect(nats.url, create=True, monitor_url=nats.monitor_url)


async def _tell(nats: NatsAddress, replicas: Sequence[int]) -> None:
    log = await connected(nats)
    try:
        model = StreamName("model", MODEL)
        registered = ModelRegistered(model_id=MODEL, name="benched", team="default")
        at = await log.append(model, (draft(registered),), ORIGIN)
        key = KeyIssued(
            key_id=KeyId(KEY.partition(".")[0]),
            name="bench",
            hash=hash_of(KEY),
            scopes=("invoke",),
            models=(),
            environments=(),
        )
        await log.append(StreamName("key", key.key_id), (draft(key),), ORIGIN)
        for number, deployment_id in enumerate((ONE, TWO), 1):
            at = await log.append(model, (draft(_pushed(deployment_id, number)),), at)
            for port in replicas:
                await _ready(log, deployment_id, port)
        await promote(log, ONE, ORIGIN)
    finally:
        await log.close()


async def promote(log: Log, deployment_id: DeploymentId, at: Position) -> Position:
    """From the next fold on, production is this deployment."""
    completed = PromotionCompleted(
        promotion_id=PromotionId(f"p{next(_numbers)}"),
        model_id=MODEL,
        environment="production",
        deployment_id=deployment_id,
        previous=None,
        cleanup="KEEP",
    )
    return await log.append(StreamName("environment", f"{MODEL}/production"), (draft(completed),), at)


async def _ready(log: Log, deployment_id: DeploymentId, port: int) -> None:
    replica_id = ReplicaId(f"{deployment_id}-{port}")
    address = f"127.0.0.1:{port}"
    ready = ReplicaReady(replica_id=replica_id, deployment_id=deployment_id, address=address, seconds=1.0)
    await log.append(StreamName("replica", replica_id), (draft(ready),), ORIGIN)


def _pushed(deployment_id: DeploymentId, number: int) -> DeploymentPushed:
    return DeploymentPushed(
        model_id=MODEL,
        deployment_id=deployment_id,
        number=number,
        name=f"deployment-{number}",
        is_development=False,
        source=BLOB,
        config=BLOB,
        raw_config=None,
        environment=None,
        scale_down_previous=False,
        cpu_millicores=1000,
        memory_bytes=2**30,
        predict_concurrency=100_000,
        deploy_timeout_s=1800,
        labels="{}",
        client="{}",
    )


def draft(event: AnyEvent) -> Draft:
    number = next(_numbers)
    meta = Metadata(
        id=EventId(derive("bench", "event", number, length=24)),
        command_id=CommandId(derive("bench", "command", number, length=24)),
        correlation_id=CorrelationId("bench"),
        causation_id=None,
        actor=Actor("operator", "bench"),
        at=datetime.now(UTC),
    )
    return event, meta
