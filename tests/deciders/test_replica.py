"""Rules of a replica."""

from typing import Any

import pytest

from events.base import BlobDigest, BuildId, DeploymentId, Event, ModelId, NodeId, ReplicaId
from events.replica import (
    ReplicaAssigned,
    ReplicaDraining,
    ReplicaEnvironmentReady,
    ReplicaFailed,
    ReplicaLost,
    ReplicaProcessStarted,
    ReplicaReady,
    ReplicaStopped,
    ReplicaUnready,
    ReplicaWeightsLate,
    ReplicaWeightsReady,
)
from handlers.base import Command
from handlers.deciders.replica import (
    REPLICA,
    AssignReplica,
    DeclareReplicaLost,
    DrainReplica,
    ReportEnvironmentReady,
    ReportFailed,
    ReportProcessStarted,
    ReportReady,
    ReportStopped,
    ReportUnready,
    ReportWeightsLate,
    ReportWeightsReady,
)
from tests.spec import changed, given, ids

R, D = ReplicaId("d-1"), DeploymentId("d")
OWN: dict[str, Any] = {"replica_id": R, "deployment_id": D}
PLACE: dict[str, Any] = {
    **OWN,
    "model_id": ModelId("m"),
    "node_id": NodeId("n"),
    "ordinal": 1,
    "build_id": BuildId("b"),
    "bundle": BlobDigest("sha256:00"),
    "environment": BlobDigest("sha256:01"),
    "python_version": "3.11",
    "cpu_millicores": 500,
    "memory_bytes": 1 << 30,
    "predict_concurrency": 1,
    "reason": "activation",
}
ASSIGN, ASSIGNED = AssignReplica(**ids(), **PLACE), ReplicaAssigned(**PLACE)
PREPARED = ReplicaEnvironmentReady(**OWN, seconds=1.0, reused=False)
SIZES: dict[str, Any] = {"seconds": 2.0, "node_bytes": 1, "peer_bytes": 2, "mirror_bytes": 3}
LATE, WEIGHTS = ReplicaWeightsLate(**OWN, lack="room", reason="full"), ReplicaWeightsReady(**OWN, **SIZES)
STARTED = ReplicaProcessStarted(**OWN, pid=1, address="h:1")
READY = ReplicaReady(**OWN, address="h:1", seconds=2.0)
UNREADY = ReplicaUnready(**OWN, reason="silent")
DRAINING = ReplicaDraining(**OWN, reason="quiet")
STOPPED = ReplicaStopped(**OWN, reason="drained", exit_code=143)
FAILED = ReplicaFailed(**OWN, stage="run", reason="segmentation fault", exit_code=139)
LOST = ReplicaLost(**OWN, reason="its node n is gone")
UP: tuple[Event, ...] = (ASSIGNED, PREPARED, STARTED, READY)
ENDS = (STOPPED, FAILED, LOST)


def report_ready() -> ReportReady:
    return ReportReady(**ids(), replica_id=R, address="h:1", seconds=2.0)


REPORTS: tuple[tuple[Command, Event], ...] = (
    (ReportEnvironmentReady(**ids(), replica_id=R, seconds=1.0, reused=False), PREPARED),
    (ReportProcessStarted(**ids(), replica_id=R, pid=1, address="h:1"), STARTED),
    (report_ready(), READY),
    (ReportUnready(**ids(), replica_id=R, reason="silent"), UNREADY),
    (ReportStopped(**ids(), replica_id=R, reason="drained", exit_code=143), STOPPED),
    (ReportFailed(**ids(), replica_id=R, stage="run", reason="segmentation fault", exit_code=139), FAILED),
    (DeclareReplicaLost(**ids(), replica_id=R, reason="its node n is gone"), LOST),
)


def test_weights_are_told_when_they_are_there_and_once_for_each_cause_that_they_are_not() -> None:
    ready = ReportWeightsReady(**ids(), replica_id=R, **SIZES)
    late = ReportWeightsLate(**ids(), replica_id=R, lack="room", reason="full")
    given(REPLICA, ASSIGNED).when(late).then(LATE)
    given(REPLICA, ASSIGNED, LATE).when(late).unchanged()
    given(REPLICA, ASSIGNED, LATE).when(changed(late, lack="mirror")).then(changed(LATE, lack="mirror"))
    given(REPLICA, ASSIGNED, PREPARED, LATE).when(ready).then(WEIGHTS)
    given(REPLICA, ASSIGNED, WEIGHTS).when(ready).unchanged()
    given(REPLICA, ASSIGNED, WEIGHTS).when(late).unchanged()
    given(REPLICA, *UP).when(ready).unchanged()
    given(REPLICA, *UP, STOPPED).when(late).unchanged()


def test_a_replica_is_assigned_once() -> None:
    given(REPLICA).when(ASSIGN).then(ASSIGNED)
    given(REPLICA, ASSIGNED).when(ASSIGN).unchanged()
    given(REPLICA, *UP, STOPPED).when(ASSIGN).unchanged()


def test_its_agent_tells_each_stage_once() -> None:
    history: tuple[Event, ...] = (ASSIGNED,)
    for command, event in REPORTS[:4]:
        given(REPLICA, *history).when(command).then(event)
        history = (*history, event)
        given(REPLICA, *history).when(command).unchanged()


def test_a_stage_may_be_skipped_by_an_agent_that_was_restarted() -> None:
    given(REPLICA, ASSIGNED).when(report_ready()).then(READY)


def test_a_replica_that_was_not_ready_for_a_while_may_be_ready_again() -> None:
    given(REPLICA, *UP, UNREADY).when(report_ready()).then(READY)


@pytest.mark.parametrize("end", ENDS, ids=lambda end: type(end).__name__)
@pytest.mark.parametrize("told", REPORTS, ids=lambda told: type(told[0]).__name__)
def test_what_is_told_of_a_replica_that_ended_is_old_news(end: Event, told: tuple[Command, Event]) -> None:
    given(REPLICA, *UP, end).when(told[0]).unchanged()


@pytest.mark.parametrize("told", REPORTS, ids=lambda told: type(told[0]).__name__)
def test_of_a_replica_that_nobody_assigned_nothing_can_be_told(told: tuple[Command, Event]) -> None:
    given(REPLICA).when(told[0]).refused("not_found", "replica_id")


def test_a_replica_is_drained_once_and_still_ends() -> None:
    drain = DrainReplica(**ids(), replica_id=R, reason="quiet")
    given(REPLICA, *UP).when(drain).then(DRAINING)
    given(REPLICA, *UP, DRAINING).when(drain).unchanged()
    given(REPLICA, *UP, STOPPED).when(drain).unchanged()
    given(REPLICA).when(drain).refused("not_found", "replica_id")
    given(REPLICA, *UP, DRAINING).when(REPORTS[4][0]).then(STOPPED)
