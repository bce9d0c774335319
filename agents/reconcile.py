"""What to do next: the difference between what this node must run and what it runs.

Level-triggered: it reads states, not changes, so nothing is lost when an agent or its machine dies at any moment. What
no target names is drained and ended: the log has already given it up (this node was thought lost, say). A replica that
ended is never started again; replacing it is the scheduler's decision.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import msgspec

from agents.effects import (
    AwaitExit,
    DrainReplica,
    FetchWeights,
    ForgetReplica,
    Patched,
    PatchReplica,
    PrepareReplica,
    ProbeReplica,
    Running,
    StartReplica,
    StopReplica,
    WeightsHere,
)
from agents.state import Deed, Ended, NodeActual, ReplicaActual, Tell, kind
from events.base import Actor, CommandId, derive
from handlers.backoff import backoff_s
from handlers.base import NOW
from handlers.deciders.replica import (
    ReportEnvironmentReady,
    ReportFailed,
    ReportPatched,
    ReportPatchFailed,
    ReportProcessStarted,
    ReportReady,
    ReportStopped,
    ReportUnready,
    ReportWeightsLate,
    ReportWeightsReady,
)
from projections.replica_targets import NodeTarget, ReplicaTarget


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How long the node waits for what. A model's config may override the first three."""

    startup_s: float = 1800.0
    """From the start of the process, or the last that it printed while it loads, to its first readiness."""
    stop_traffic_s: float = 60.0
    """Not ready for this long: takes no new requests."""
    restart_s: float = 600.0
    """Not ready for this long: ended, to be replaced."""
    grace_s: float = 1.0
    """A draining replica still takes what gateways send that route on a slightly older view."""
    drain_deadline_s: float = 3600.0
    """Requests that still run then are cut."""
    drain_loading_deadline_s: float = 10.0
    probe_first_s: float = 0.02
    probe_growth: float = 1.01
    probe_slowest_s: float = 2.0
    """Between two probes of a replica that loads: from the first, growing by a hundredth of the time so far."""
    probe_every_s: float = 5.0
    prepare_attempts: int = 3
    prepare_again_s: float = 2.0
    weights_again_s: float = 1.0
    weights_again_slowest_s: float = 15.0
    """Weights that cannot be had are tried again as long as the replica is wanted."""
    start_attempts: int = 5
    tell_again_s: float = 0.5
    tell_again_slowest_s: float = 10.0
    stop_again_s: float = 10.0


PATIENCE = Patience()


class DueDeed(msgspec.Struct, frozen=True):
    at: datetime
    deed: Deed


def reconcile(target: NodeTarget, actual: NodeActual, patience: Patience = PATIENCE) -> Iterator[DueDeed]:
    """All that is called for, each with the time from which it is. What is in flight is not named again."""
    for replica_id, wanted in target.items():
        replica = actual.replicas.get(replica_id) or ReplicaActual(replica_id, wanted.deployment_id)
        dues = (*_tell(actual, replica, wanted, patience), *_run(replica, wanted, patience))
        yield from (due for due in dues if kind(due.deed) not in replica.busy)
    for replica_id, replica in actual.replicas.items():
        if replica_id not in target:
            yield from (due for due in _end(replica, patience) if kind(due.deed) not in replica.busy)


def _run(replica: ReplicaActual, wanted: ReplicaTarget, patience: Patience) -> Iterator[DueDeed]:
    if ending(replica, wanted, patience) is not None:
        return
    if replica.process is not None:
        yield from _keep(replica, wanted, patience)
        return
    has_weights = not wanted.weights or replica.weights is not None
    if replica.prepared is None:
        yield DueDeed(_after(replica.retry_after, patience.prepare_again_s), PrepareReplica(wanted))
    elif has_weights:
        yield DueDeed(NOW, StartReplica(wanted))
    if not has_weights:
        pause_s = backoff_s(replica.weights_failures, patience.weights_again_s, patience.weights_again_slowest_s)
        yield DueDeed(_after(replica.weights_retry_after, pause_s), FetchWeights(wanted))


def _keep(replica: ReplicaActual, wanted: ReplicaTarget, patience: Patience) -> Iterator[DueDeed]:
    yield DueDeed(NOW, AwaitExit(replica.replica_id))
    if wanted.draining or replica.drain_began_at is not None:
        yield from _drain(replica, wanted.reason, patience)
        return
    if wanted.patches is not None and wanted.patches.attempt > (replica.patched.attempt if replica.patched else 0):
        yield DueDeed(NOW, PatchReplica(wanted))
    yield from _give_up(replica, patience)
    yield DueDeed(_next_probe(replica, patience), ProbeReplica(replica.replica_id))


def _end(replica: ReplicaActual, patience: Patience) -> Iterator[DueDeed]:
    """No target names it: it belongs to nobody."""
    if replica.process is not None and replica.ended is None:
        yield DueDeed(NOW, AwaitExit(replica.replica_id))
        yield from _drain(replica, "the log does not count on it any more", patience)
    elif not replica.busy:
        at = _after(replica.retry_after, patience.prepare_again_s)
        yield DueDeed(at, ForgetReplica(replica.replica_id, replica.deployment_id))


def _drain(replica: ReplicaActual, reason: str, patience: Patience) -> Iterator[DueDeed]:
    if replica.drain_began_at is None:
        yield DueDeed(NOW, DrainReplica(replica.replica_id, patience.grace_s, reason))
        return
    # One that was never ready has no request to end, and may be deep in its load().
    deadline_s = patience.drain_deadline_s if replica.ready_at else patience.drain_loading_deadline_s
    at = _after(replica.drain_began_at, patience.grace_s + deadline_s)
    if replica.stop_began_at is not None:
        at = _after(replica.stop_began_at, patience.stop_again_s)
    cut = f"{reason}; cut after {deadline_s:g} s of draining"
    yield DueDeed(at, StopReplica(replica.replica_id, cut))


def _give_up(replica: ReplicaActual, patience: Patience) -> Iterator[DueDeed]:
    """When this process will have had its chance."""
    assert replica.process is not None and replica.prepared is not None
    own = replica.prepared.health_checks
    why = f": {replica.failing_why}" if replica.failing_why else ""
    if replica.ready_at is None:
        startup_s = own.startup_s or patience.startup_s
        at = _after(max(replica.process.started_at, replica.progress_at or NOW), startup_s)
        since = "its last output" if replica.progress_at is not None else "its start"
        reason = f"was not ready {startup_s:g} s after {since} (startup_threshold_seconds){why}"
    elif replica.failing_since is not None:
        restart_s = own.restart_s or patience.restart_s
        at = _after(replica.failing_since, restart_s)
        reason = f"was not healthy for {restart_s:g} s (restart_threshold_seconds){why}"
    else:
        return
    if replica.stop_began_at is not None:
        at, reason = _after(replica.stop_began_at, patience.stop_again_s), replica.stop_reason
    yield DueDeed(at, StopReplica(replica.replica_id, reason))


def _next_probe(replica: ReplicaActual, patience: Patience) -> datetime:
    if replica.ready_at is not None:
        return _after(replica.probed_at, patience.probe_every_s)
    gap_s = patience.probe_first_s * patience.probe_growth ** min(replica.probes, 1000)
    return _after(replica.probed_at, min(gap_s, patience.probe_slowest_s))


def _after(moment: datetime | None, seconds: float) -> datetime:
    return NOW if moment is None else moment + timedelta(seconds=seconds)


def ending(replica: ReplicaActual, wanted: ReplicaTarget, patience: Patience) -> Ended | None:
    """How it ended, where it did, or how it ends without ever having run."""
    if replica.ended is not None:
        if wanted.draining and replica.ended.stage is not None:
            return Ended(None, wanted.reason, replica.ended.exit_code)
        return replica.ended
    if replica.process is not None or "StartReplica" in replica.busy:
        return None
    if wanted.draining:
        return Ended(None, wanted.reason, None)
    if replica.failures >= patience.prepare_attempts:
        return Ended("environment", replica.failing_why, None)
    if replica.clashes >= patience.start_attempts:
        return Ended("start", f"lost its port to other programs {replica.clashes} times", None)
    return None


def _tell(actual: NodeActual, replica: ReplicaActual, wanted: ReplicaTarget, patience: Patience) -> Iterator[DueDeed]:
    """The first fact that nobody acknowledged yet."""
    for key, report, fields in _facts(replica, wanted, patience):
        if key not in replica.told:
            gap_s = backoff_s(replica.refusals + 1, patience.tell_again_s, patience.tell_again_slowest_s)
            command = report(**_identity(actual, wanted, key), replica_id=wanted.replica_id, **fields)
            yield DueDeed(_after(replica.tried_at, gap_s), Tell(replica.replica_id, key, command))
            return


_Report = (
    type[ReportEnvironmentReady]
    | type[ReportWeightsReady]
    | type[ReportWeightsLate]
    | type[ReportProcessStarted]
    | type[ReportReady]
    | type[ReportPatched]
    | type[ReportPatchFailed]
    | type[ReportUnready]
    | type[ReportStopped]
    | type[ReportFailed]
)
_Fact = tuple[str, _Report, dict[str, Any]]


def _facts(replica: ReplicaActual, wanted: ReplicaTarget, patience: Patience) -> Iterator[_Fact]:
    if (prepared := replica.prepared) is not None:
        yield "prepared", ReportEnvironmentReady, {"seconds": prepared.seconds, "reused": prepared.reused}
        if (here := replica.weights) is not None:
            yield "weights", ReportWeightsReady, _sizes(here)
        # After the environment, so that this is what the deployment's status says.
        if (lacking := replica.lacking) is not None and lacking.lack != "missing":
            fields = {"lack": lacking.lack, "reason": lacking.reason}
            yield f"weights-late-{lacking.lack}", ReportWeightsLate, fields
    if (process := replica.process) is not None:
        yield "started", ReportProcessStarted, {"pid": process.pid, "address": process.address}
    end = ending(replica, wanted, patience)
    if end is None:
        if process is not None and not wanted.draining:
            if replica.patched is not None:
                yield _patched(replica.patched)
            yield from _health(replica, process, patience)
    elif end.stage is None:
        yield "ended", ReportStopped, {"reason": end.reason, "exit_code": end.exit_code}
    else:
        yield "ended", ReportFailed, {"stage": end.stage, "reason": end.reason, "exit_code": end.exit_code}


def _sizes(here: WeightsHere) -> dict[str, Any]:
    return {
        "seconds": here.seconds,
        "node_bytes": here.node_bytes,
        "peer_bytes": here.peer_bytes,
        "mirror_bytes": here.mirror_bytes,
    }


def _patched(patched: Patched) -> _Fact:
    key, sync = f"patched-{patched.attempt}", {"number": patched.number, "attempt": patched.attempt}
    if patched.failure is not None:
        return key, ReportPatchFailed, {**sync, "reason": patched.failure, "needs_push": patched.needs_push}
    return key, ReportPatched, {**sync, "restarted": patched.restarted, "seconds": patched.seconds}


def _health(replica: ReplicaActual, process: Running, patience: Patience) -> Iterator[_Fact]:
    if replica.ready_at is None or replica.prepared is None or replica.probed_at is None:
        return
    stop_s = replica.prepared.health_checks.stop_traffic_s or patience.stop_traffic_s
    if replica.failing_since is not None and replica.probed_at >= _after(replica.failing_since, stop_s):
        yield f"unready-{replica.healths}", ReportUnready, {"reason": replica.failing_why}
    elif replica.healths > 0:
        seconds = (replica.ready_at - process.started_at).total_seconds()
        yield f"ready-{replica.healths}", ReportReady, {"address": process.address, "seconds": seconds}


def _identity(actual: NodeActual, wanted: ReplicaTarget, key: str) -> dict[str, Any]:
    parts = ("node", actual.node_id, actual.incarnation, wanted.replica_id, key)
    return {
        "id": CommandId(derive(*parts, length=24)),
        "actor": Actor(f"agent:{actual.node_id}", "internal"),
        "correlation_id": wanted.correlation_id,
        "causation_id": wanted.cause_id,
    }
