"""The autoscaler in a vacuum: one deployment, the real reactor and the real decider, and load that it is told. No log.

Time passes only as it is told, so days pass in seconds. Asks what other settings would have done (`causeway whatif`)
and lets tests state what load makes of replicas.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from events.base import (
    Actor,
    BlobDigest,
    BuildId,
    CommandId,
    CorrelationId,
    DeploymentId,
    Event,
    EventId,
    Metadata,
    ModelId,
    Position,
    ReplicaId,
    StreamName,
)
from events.build import BuildSucceeded
from events.codec import Recorded
from events.model import DeploymentActivated
from events.replica import ReplicaReady
from events.scaling import AutoscalingSettings, Grounds, ReplicaTargetRaised
from events.signals import Load, Signal
from handlers.base import Command, Context
from handlers.deciders.scaling import SCALING, ConfigureScaling, ScalingState
from handlers.reactors.autoscale import AUTOSCALE
from handlers.reactors.autoscale_state import AutoscaleState

DEPLOYMENT = DeploymentId("rehearsal")
_DIGEST = BlobDigest("sha256:" + "0" * 64)
_ACTOR = Actor("rehearsal", "internal")
_IDENTITY: Mapping[str, Any] = {"id": CommandId(""), "actor": _ACTOR, "correlation_id": CorrelationId("")}


class Change(msgspec.Struct, frozen=True):
    """A new target."""

    at: float
    before: int
    after: int
    rule: str


class Standing(msgspec.Struct, frozen=True):
    """From this moment on: so many are to run, and so many are ready."""

    at: float
    target: int
    ready: int


class Rehearsal:
    """`start_s`: from a raise to the readiness of the replicas that it called for."""

    def __init__(self, settings: AutoscalingSettings, at: float, replicas: int, start_s: float) -> None:
        self.now = at
        self.ready = replicas
        self.changes: list[Change] = []
        self.standings: list[Standing] = []
        self._start_s = start_s
        self._starting: list[tuple[float, int]] = []
        """When how many will be ready."""
        self._state: ScalingState = SCALING.initial
        # It hears since before anything happened, as a process that has been up for long.
        self._reactor: AutoscaleState = AUTOSCALE.initial(time_of(at - 1e6))
        self._count = 0
        self._happened(_built(), DeploymentActivated(model_id=ModelId(""), deployment_id=DEPLOYMENT))
        self._carry_out(ConfigureScaling(**_IDENTITY, deployment_id=DEPLOYMENT, settings=settings, source="set"))
        if replicas:
            grounds = Grounds(settings=settings)
            raised = ReplicaTargetRaised(
                deployment_id=DEPLOYMENT, previous=0, target=replicas, rule="activation", grounds=grounds
            )
            self._happened(raised, _ready())
        self._stand()

    @property
    def target(self) -> int:
        return self._state.target

    def tell(self, load: Load) -> None:
        self.hear(load)
        self.advance(self.now)

    def hear(self, signal: Signal) -> None:
        self._reactor = AUTOSCALE.hear(self._reactor, signal, time_of(self.now))

    def advance(self, to: float) -> None:
        """Lets time pass; what falls due on the way is done in its turn."""
        assert AUTOSCALE.ripe is not None, "the autoscaler looks by itself"
        while True:
            while self._starting and self._starting[0][0] <= self.now:
                self.ready = min(self._state.target, self.ready + self._starting.pop(0)[1])
                self._happened(_ready())
                self._stand()
            dues, next_at = AUTOSCALE.ripe(self._reactor, time_of(self.now))
            happened = self._count
            for due in dues:
                self._carry_out(due.command)
            if self._count > happened:
                continue
            times = [at for at, _ in self._starting[:1]] + ([next_at.timestamp()] if next_at is not None else [])
            if self.now >= to:
                return
            self.now = min(to, max(self.now + 0.001, min(times, default=to)))

    def _carry_out(self, command: Command) -> None:
        before = self._state.target
        events = SCALING.decide(command, self._state, Context(time_of(self.now)))  # type: ignore[arg-type]
        self._happened(*events)
        after = self._state.target
        if after != before:
            self.changes.append(Change(self.now, before, after, getattr(events[-1], "rule", "")))
            if after > before:
                self._starting.append((self.now + self._start_s, after - before))
            self._starting = self._starting if after else []
            self.ready = min(self.ready, after)
            self._stand()

    def _stand(self) -> None:
        self.standings.append(Standing(self.now, self._state.target, self.ready))

    def _happened(self, *events: Event) -> None:
        for event in events:
            self._count += 1
            self._state = SCALING.evolve(self._state, event)
            recorded = Recorded(Position(self._count), StreamName("scaling", DEPLOYMENT), event, self._meta())  # type: ignore[arg-type]
            self._reactor = AUTOSCALE.evolve(self._reactor, recorded)

    def _meta(self) -> Metadata:
        return Metadata(
            id=EventId(""),
            command_id=CommandId(""),
            correlation_id=CorrelationId(""),
            causation_id=None,
            actor=_ACTOR,
            at=time_of(self.now),
        )


def time_of(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def _built() -> BuildSucceeded:
    return BuildSucceeded(
        build_id=BuildId(""),
        deployment_id=DEPLOYMENT,
        bundle=_DIGEST,
        environment=_DIGEST,
        python_version="",
        truss_hash="",
        truss_signature=_DIGEST,
        seconds=0.0,
    )


def _ready() -> ReplicaReady:
    return ReplicaReady(replica_id=ReplicaId(""), deployment_id=DEPLOYMENT, address="", seconds=0.0)
