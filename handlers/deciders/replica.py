"""Rules of a replica: assigned once, reported by its node's agent, drained or lost by others, ended once.

A report about a replica that has already ended is old news, not an error: the agent may tell it twice.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from events.base import BlobDigest, BuildId, DeploymentId, Event, ModelId, NodeId, ReplicaId
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
from events.weights import Mount
from handlers.base import Command, Context, Decider, Refused, told


class AssignReplica(Command, frozen=True, kw_only=True):
    replica_id: ReplicaId
    model_id: ModelId
    deployment_id: DeploymentId
    node_id: NodeId
    ordinal: int
    build_id: BuildId
    bundle: BlobDigest
    environment: BlobDigest
    python_version: str
    cpu_millicores: int
    memory_bytes: int
    predict_concurrency: int
    reason: str
    weights: tuple[Mount, ...] = ()


class ReportEnvironmentReady(Command, frozen=True, kw_only=True):
    replica_id: ReplicaId
    seconds: float
    reused: bool


class ReportWeightsReady(Command, frozen=True, kw_only=True):
    replica_id: ReplicaId
    seconds: float
    node_bytes: int
    peer_bytes: int
    mirror_bytes: int


class ReportWeightsLate(Command, frozen=True, kw_only=True):
    replica_id: ReplicaId
    lack: str
    reason: str


class ReportProcessStarted(Command, frozen=True, kw_only=True):
    replica_id: ReplicaId
    pid: int
    address: str


class ReportReady(Command, frozen=True, kw_only=True):
    replica_id: ReplicaId
    address: str
    seconds: float


class ReportPatched(Command, frozen=True, kw_only=True):
    replica_id: ReplicaId
    number: int
    attempt: int
    restarted: bool
    seconds: float


class ReportPatchFailed(Command, frozen=True, kw_only=True):
    replica_id: ReplicaId
    number: int
    attempt: int
    reason: str
    needs_push: bool


class ReportUnready(Command, frozen=True, kw_only=True):
    replica_id: ReplicaId
    reason: str


class DrainReplica(Command, frozen=True, kw_only=True):
    replica_id: ReplicaId
    reason: str


class ReportStopped(Command, frozen=True, kw_only=True):
    replica_id: ReplicaId
    reason: str
    exit_code: int | None


class ReportFailed(Command, frozen=True, kw_only=True):
    replica_id: ReplicaId
    stage: str
    reason: str
    exit_code: int | None


class DeclareReplicaLost(Command, frozen=True, kw_only=True):
    replica_id: ReplicaId
    reason: str


ReplicaCommand = (
    AssignReplica
    | ReportEnvironmentReady
    | ReportWeightsReady
    | ReportWeightsLate
    | ReportProcessStarted
    | ReportReady
    | ReportPatched
    | ReportPatchFailed
    | ReportUnready
    | DrainReplica
    | ReportStopped
    | ReportFailed
    | DeclareReplicaLost
)

Phase = Literal["none", "assigned", "prepared", "started", "ready", "unready", "ended"]
LIVE: frozenset[Phase] = frozenset({"assigned", "prepared", "started", "ready", "unready"})


class ReplicaState(msgspec.Struct, frozen=True, tag=True):
    phase: Phase = "none"
    deployment_id: DeploymentId = DeploymentId("")
    draining: bool = False
    patch_attempt: int = 0
    """The last sync whose outcome was told."""
    has_weights: bool = False
    lack: str | None = None
    """What its weights last waited for."""


_PHASE_AFTER: tuple[tuple[type, Phase], ...] = (
    (ReplicaEnvironmentReady, "prepared"),
    (ReplicaProcessStarted, "started"),
    (ReplicaReady, "ready"),
    (ReplicaUnready, "unready"),
    (ReplicaStopped, "ended"),
    (ReplicaFailed, "ended"),
    (ReplicaLost, "ended"),
)


def evolve(state: ReplicaState, event: Event) -> ReplicaState:
    match event:
        case ReplicaAssigned():
            return ReplicaState("assigned", event.deployment_id)
        case ReplicaDraining():
            return msgspec.structs.replace(state, draining=True)
        case ReplicaWeightsReady():
            return msgspec.structs.replace(state, has_weights=True)
        case ReplicaWeightsLate():
            return msgspec.structs.replace(state, lack=event.lack)
        case ReplicaPatched() | ReplicaPatchFailed():
            return msgspec.structs.replace(state, patch_attempt=event.attempt)
    for kind, phase in _PHASE_AFTER:
        if isinstance(event, kind):
            return msgspec.structs.replace(state, phase=phase)
    return state


_REPORTS: tuple[tuple[type[Command], frozenset[Phase], type[Event]], ...] = (
    (ReportEnvironmentReady, frozenset({"assigned"}), ReplicaEnvironmentReady),
    (ReportWeightsReady, frozenset({"assigned", "prepared"}), ReplicaWeightsReady),
    (ReportWeightsLate, frozenset({"assigned", "prepared"}), ReplicaWeightsLate),
    (ReportProcessStarted, frozenset({"assigned", "prepared"}), ReplicaProcessStarted),
    (ReportReady, frozenset({"assigned", "prepared", "started", "unready"}), ReplicaReady),
    (ReportUnready, frozenset({"ready"}), ReplicaUnready),
    (ReportPatched, LIVE, ReplicaPatched),
    (ReportPatchFailed, LIVE, ReplicaPatchFailed),
    (ReportStopped, LIVE, ReplicaStopped),
    (ReportFailed, LIVE, ReplicaFailed),
    (DeclareReplicaLost, LIVE, ReplicaLost),
)
"""Which event a report becomes, and in which phases it is news."""


def decide(command: ReplicaCommand, state: ReplicaState, ctx: Context) -> Sequence[Event]:
    if isinstance(command, AssignReplica):
        return (told(ReplicaAssigned, command),) if state.phase == "none" else ()
    if state.phase == "none":
        raise Refused("not_found", f"there is no replica {command.replica_id}", "replica_id")
    if isinstance(command, DrainReplica):
        if state.draining or state.phase == "ended":
            return ()
        return (told(ReplicaDraining, command, deployment_id=state.deployment_id),)
    if isinstance(command, ReportPatched | ReportPatchFailed) and command.attempt <= state.patch_attempt:
        return ()
    if isinstance(command, ReportWeightsReady | ReportWeightsLate) and not _is_news(command, state):
        return ()
    for report, news_in, fact in _REPORTS:
        if isinstance(command, report) and state.phase in news_in:
            return (told(fact, command, deployment_id=state.deployment_id),)
    return ()


def _is_news(command: ReportWeightsReady | ReportWeightsLate, state: ReplicaState) -> bool:
    if state.has_weights:
        return False
    return isinstance(command, ReportWeightsReady) or command.lack != state.lack


REPLICA: Decider[ReplicaCommand, ReplicaState] = Decider(
    category="replica",
    commands=(
        AssignReplica,
        ReportEnvironmentReady,
        ReportWeightsReady,
        ReportWeightsLate,
        ReportProcessStarted,
        ReportReady,
        ReportPatched,
        ReportPatchFailed,
        ReportUnready,
        DrainReplica,
        ReportStopped,
        ReportFailed,
        DeclareReplicaLost,
    ),
    initial=ReplicaState(),
    aggregate_id=lambda command: command.replica_id,
    decide=decide,
    evolve=evolve,
)
