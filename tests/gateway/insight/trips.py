"""Requests that are over, for tests."""

from typing import Any

from events.base import DeploymentId, ModelId, Position, ReplicaId
from gateway.addresses import Target
from gateway.insight.trip import Trip


def trip(**more: Any) -> Trip:
    usual: dict[str, Any] = {
        "target": Target(ModelId("m1"), "environment", "production"),
        "verb": "predict",
        "method": "POST",
        "request_id": "r-1",
        "deployment_id": DeploymentId("d1"),
        "replica_id": ReplicaId("d1-1"),
        "status": 200,
        "complete": True,
        "began": 10.0,
        "first_byte": 10.02,
        "ended": 10.06,
        "parked_s": 0.0,
        "attempts": 1,
        "received_bytes": 300,
        "sent_bytes": 2000,
        "trace": None,
        "position": Position(7),
    }
    return Trip(**usual | more)
