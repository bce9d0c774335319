"""Signals: what is worth knowing now and not worth keeping. Lossy, unordered, unkept; never an event.

Losing one may delay a decision, and never makes a wrong one.
"""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Protocol

import msgspec

from events.base import DeploymentId, NodeId, Position, ReplicaId
from events.signals.answers import Durations


class Share(msgspec.Struct, frozen=True, array_like=True):
    """What one gateway worker has on its way to or at one replica."""

    replica_id: ReplicaId
    in_flight: int


class Load(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What one gateway worker sees of one deployment: sent at once when it gets busy, parks or fills what there is,
    then every second while it is not idle, and once more when it is."""

    worker: str
    number: int = 0
    """Counts this worker's reports of this deployment or of all; 0: not counted. A smaller one is old news."""
    deployment_id: DeploymentId
    in_flight: int
    parked: int
    queued: int = 0
    """Asynchronous requests that wait in their queue: told by who delivers from it."""
    mean: float = 0.0
    """Of all of them together since the last report, weighted by time: a request shorter than a tick counts too."""
    peak: int = 0
    span_s: float = 0.0
    """How long ago the last report was."""
    replicas: tuple[Share, ...] = ()
    """Where `in_flight` is: so that all workers together keep to a replica's limit."""
    waiting_since: datetime | None = None
    """When the first in line came: so that a slot goes to who has waited longest, in whatever worker."""
    position: Position | None = None
    """The last event that the worker knew; None: not told."""
    at: datetime


class Answers(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What one gateway worker answered for one deployment since its last report: sent only while a promotion is to be
    judged by it."""

    worker: str
    number: int
    """Counts this worker's reports: a smaller one is old news."""
    deployment_id: DeploymentId
    requests: int
    errors: int
    """5xx, and attempts that failed though another replica answered in the end."""
    durations: tuple[Durations, ...]
    """From the head to the last byte, without the waiting for a replica."""
    at: datetime


class WakeAsked(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Somebody called `wake`: have a replica ready, though no request waits."""

    deployment_id: DeploymentId
    at: datetime


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    node_id: NodeId
    boot_id: str
    at: datetime


class Delivering(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The control plane of this machine delivers to webhooks: sent every two seconds while it does."""

    holder: str
    at: datetime


class Resumed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The channel was interrupted and works again: silence before this moment says nothing about anybody."""

    at: datetime


Signal = Load | Answers | WakeAsked | Heartbeat | Delivering | Resumed


class Signals(Protocol):
    async def publish(self, signal: Signal) -> None:
        """Sends if it can. Never raises for a channel that is away."""
        ...

    def listen(self) -> AsyncIterator[Signal]:
        """Signals from now on, for ever; `Resumed` after each interruption."""
        ...
