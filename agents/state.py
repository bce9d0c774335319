"""What this machine runs, as the agent knows it: a pure fold of stimuli, as an aggregate is a fold of events.

A stimulus is what the survey found, that an effect began, or how it finished. Nothing here decides anything
(`reconcile.py` does), reads a clock, or touches the machine.
"""

from collections.abc import Mapping
from datetime import datetime

import msgspec
from msgspec.structs import replace

from agents.effects import (
    DrainReplica,
    Effect,
    EffectFailed,
    Exited,
    FetchWeights,
    ForgetReplica,
    Found,
    Patched,
    Prepared,
    PrepareReplica,
    Probed,
    Result,
    Running,
    StartReplica,
    StopReplica,
    WeightsHere,
    WeightsLack,
)
from events.base import DeploymentId, NodeId, ReplicaId
from handlers.base import Command


class Tell(msgspec.Struct, frozen=True):
    """Report a fact to the log. `key` names the fact, so that it is told until acknowledged and not again."""

    replica_id: ReplicaId
    key: str
    command: Command


class Told(msgspec.Struct, frozen=True):
    acknowledged: bool


Deed = Effect | Tell


class Surveyed(msgspec.Struct, frozen=True):
    found: tuple[Found, ...]
    at: datetime


class Began(msgspec.Struct, frozen=True):
    deed: Deed
    at: datetime


class Finished(msgspec.Struct, frozen=True):
    deed: Deed
    result: Result | Told
    at: datetime


Stimulus = Surveyed | Began | Finished


class Ended(msgspec.Struct, frozen=True):
    """How a replica ended: as asked (no stage), or by itself in a stage."""

    stage: str | None
    reason: str
    exit_code: int | None


class ReplicaActual(msgspec.Struct, frozen=True):
    replica_id: ReplicaId
    deployment_id: DeploymentId
    busy: frozenset[str] = frozenset()
    """Kinds of deeds in flight; at most one of a kind."""
    prepared: Prepared | None = None
    failures: int = 0
    """Preparations that failed and may be tried again."""
    retry_after: datetime | None = None
    """When the last of them failed."""
    weights: WeightsHere | None = None
    lacking: WeightsLack | None = None
    """Why they were not there when they were last fetched."""
    weights_failures: int = 0
    """In a row."""
    weights_retry_after: datetime | None = None
    """When the last of them failed."""
    clashes: int = 0
    """Starts that lost their port to somebody else."""
    process: Running | None = None
    patched: Patched | None = None
    """The last sync of the patch chain that it has been through."""
    probed_at: datetime | None = None
    probes: int = 0
    output_bytes: int = 0
    progress_at: datetime | None = None
    """When it was last seen to have printed more, while it loads."""
    ready_at: datetime | None = None
    """First time; None: still loading."""
    healths: int = 0
    """Times that it became healthy; names the facts about health."""
    failing_since: datetime | None = None
    failing_why: str = ""
    drain_began_at: datetime | None = None
    drain_reason: str = ""
    stop_began_at: datetime | None = None
    stop_reason: str = ""
    ended: Ended | None = None
    told: frozenset[str] = frozenset()
    refusals: int = 0
    """Tries to tell the current fact that nobody acknowledged."""
    tried_at: datetime | None = None


class NodeActual(msgspec.Struct, frozen=True):
    node_id: NodeId
    incarnation: str
    """Of the agent: facts told by an earlier one are told again under ids of their own."""
    replicas: Mapping[ReplicaId, ReplicaActual] = {}


def evolve(actual: NodeActual, stimulus: Stimulus) -> NodeActual:
    if isinstance(stimulus, Surveyed):
        found = {each.replica_id: _found(each, stimulus.at) for each in stimulus.found}
        return replace(actual, replicas={**actual.replicas, **found})
    deed, replica_id = stimulus.deed, stimulus.deed.replica_id
    if isinstance(deed, ForgetReplica) and isinstance(stimulus, Finished) and not _stays(stimulus.result):
        kept = {each: replica for each, replica in actual.replicas.items() if each != replica_id}
        return replace(actual, replicas=kept)
    known = actual.replicas.get(replica_id) or _unseen(deed)
    changed = _began(known, stimulus) if isinstance(stimulus, Began) else _finished(known, stimulus)
    return replace(actual, replicas={**actual.replicas, replica_id: changed})


def _stays(result: Result | Told) -> bool:
    """The kernel has not let go of something of it: it is forgotten a little later."""
    return isinstance(result, EffectFailed) and result.again


def kind(deed: Deed) -> str:
    return type(deed).__name__


def _unseen(deed: Deed) -> ReplicaActual:
    if isinstance(deed, PrepareReplica | FetchWeights):
        return ReplicaActual(deed.replica_id, deed.target.deployment_id)
    return ReplicaActual(deed.replica_id, DeploymentId(""))


def _found(found: Found, at: datetime) -> ReplicaActual:
    return ReplicaActual(
        found.replica_id,
        found.deployment_id,
        prepared=found.prepared,
        process=found.process,
        patched=found.patched,
        weights=found.weights,
        ready_at=at if found.was_ready else None,
    )


def _began(replica: ReplicaActual, stimulus: Began) -> ReplicaActual:
    deed = stimulus.deed
    replica = replace(replica, busy=replica.busy | {kind(deed)})
    match deed:
        case DrainReplica():
            return replace(replica, drain_began_at=stimulus.at, drain_reason=deed.reason)
        case StopReplica():
            return replace(replica, stop_began_at=stimulus.at, stop_reason=deed.reason)
        case _:
            return replica


def _finished(replica: ReplicaActual, stimulus: Finished) -> ReplicaActual:
    deed, result, at = stimulus.deed, stimulus.result, stimulus.at
    replica = replace(replica, busy=replica.busy - {kind(deed)})
    match result:
        case Told():
            return _told(replica, deed, result, at)
        case Prepared():
            return replace(replica, prepared=result, failures=0, retry_after=None)
        case WeightsHere():
            return replace(replica, weights=result, lacking=None)
        case WeightsLack():
            return _lacking(replica, result, at)
        case Running():
            return _running(replica, deed, result)
        case Patched():
            # A server that begins anew may load for long, and has not failed yet.
            return replace(replica, patched=result, **({"failing_since": None} if result.restarted else {}))
        case Probed():
            return _probed(replica, result, at)
        case Exited():
            return _exited(replica, result)
        case EffectFailed():
            return _failed(replica, deed, result, at)
        case _:
            return replica


def _running(replica: ReplicaActual, deed: Deed, result: Running) -> ReplicaActual:
    """A replica of a development deployment begins with all patches that are wanted by then."""
    begun = deed.target.patches if isinstance(deed, StartReplica) else None
    patched = Patched(begun.wanted, begun.attempt, restarted=True) if begun is not None and begun.attempt else None
    return replace(replica, process=result, patched=patched, probed_at=None, probes=0, output_bytes=0, progress_at=None)


def _lacking(replica: ReplicaActual, result: WeightsLack, at: datetime) -> ReplicaActual:
    failures = replica.weights_failures + 1
    replica = replace(replica, lacking=result, weights_failures=failures, weights_retry_after=at)
    return replace(replica, ended=Ended("weights", result.reason, None)) if result.lack == "missing" else replica


def _told(replica: ReplicaActual, deed: Deed, result: Told, at: datetime) -> ReplicaActual:
    if not isinstance(deed, Tell) or not result.acknowledged:
        return replace(replica, refusals=replica.refusals + 1, tried_at=at)
    return replace(replica, told=replica.told | {deed.key}, refusals=0, tried_at=None)


def _probed(replica: ReplicaActual, result: Probed, at: datetime) -> ReplicaActual:
    replica = replace(replica, probed_at=at, probes=replica.probes + 1)
    if replica.ready_at is None and result.output_bytes > replica.output_bytes:
        replica = replace(replica, output_bytes=result.output_bytes, progress_at=at)
    if result.health != "ready":
        return replace(replica, failing_since=replica.failing_since or at, failing_why=result.detail)
    well_before = replica.healths > 0 and replica.failing_since is None
    return replace(
        replica,
        ready_at=replica.ready_at or at,
        healths=replica.healths + (not well_before),
        failing_since=None,
        failing_why="",
    )


def _exited(replica: ReplicaActual, result: Exited) -> ReplicaActual:
    if replica.drain_began_at is not None:
        reason = replica.stop_reason or replica.drain_reason
        return replace(replica, ended=Ended(None, reason, result.exit_code))
    if result.asked:
        return replace(replica, ended=Ended(None, result.reason, result.exit_code))
    if result.port_taken and replica.ready_at is None:
        return replace(replica, process=None, clashes=replica.clashes + 1)
    stage = "load" if replica.ready_at is None else "run"
    return replace(replica, ended=Ended(stage, replica.stop_reason or result.reason, result.exit_code))


_STAGES: tuple[tuple[type[Effect], str], ...] = ((PrepareReplica, "environment"), (StartReplica, "start"))


def _failed(replica: ReplicaActual, deed: Deed, result: EffectFailed, at: datetime) -> ReplicaActual:
    if result.again:
        return replace(replica, failures=replica.failures + 1, retry_after=at, failing_why=result.reason)
    for effect, stage in _STAGES:
        if isinstance(deed, effect):
            return replace(replica, ended=Ended(stage, result.reason, None))
    return replica
