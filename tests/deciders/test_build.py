"""Rules of a build."""

from events.base import BlobDigest, BuildId, DeploymentId, ModelId, NodeId
from events.build import (
    BuildFailed,
    BuildRequested,
    BuildStarted,
    BuildStepFinished,
    BuildStopped,
    BuildSucceeded,
)
from handlers.deciders.build import (
    BUILD,
    ReportBuildFailed,
    ReportBuildStep,
    ReportBuildSucceeded,
    RequestBuild,
    StartBuild,
    StopBuild,
)
from tests.spec import changed, given, ids

B, D, M, ONE, OTHER = BuildId("b"), DeploymentId("d"), ModelId("m"), NodeId("one"), NodeId("other")
BLOB = BlobDigest("sha256:00")
REQUEST = RequestBuild(**ids(), build_id=B, model_id=M, deployment_id=D, source=BLOB, config=BLOB)
REQUESTED = BuildRequested(build_id=B, model_id=M, deployment_id=D, source=BLOB, config=BLOB)
STOPPED = BuildStopped(build_id=B, deployment_id=D, reason="not wanted")
SUCCEED = ReportBuildSucceeded(
    **ids(),
    build_id=B,
    bundle=BLOB,
    environment=BLOB,
    python_version="3.11",
    truss_hash="h",
    truss_signature=BLOB,
    seconds=2.0,
)  # fmt: skip
SUCCEEDED = BuildSucceeded(
    build_id=B,
    deployment_id=D,
    bundle=BLOB,
    environment=BLOB,
    python_version="3.11",
    truss_hash="h",
    truss_signature=BLOB,
    seconds=2.0,
)  # fmt: skip


def started(builder: NodeId = ONE, attempt: int = 1) -> BuildStarted:
    return BuildStarted(build_id=B, deployment_id=D, builder=builder, attempt=attempt)


def start(builder: NodeId = ONE) -> StartBuild:
    return StartBuild(**ids(), build_id=B, builder=builder)


def test_a_build_is_requested_once() -> None:
    given(BUILD).when(REQUEST).then(REQUESTED)
    given(BUILD, REQUESTED).when(REQUEST).unchanged()
    given(BUILD, REQUESTED, started(), SUCCEEDED).when(REQUEST).unchanged()


def test_what_is_built_already_is_not_built_again() -> None:
    elsewhere = changed(SUCCEEDED, build_id=BuildId("other"), deployment_id=DeploymentId("original"))
    again = changed(REQUEST, reuses=elsewhere)
    given(BUILD).when(again).then(REQUESTED, changed(SUCCEEDED, seconds=0.0))
    given(BUILD, REQUESTED, changed(SUCCEEDED, seconds=0.0)).when(again).unchanged()
    given(BUILD, REQUESTED, changed(SUCCEEDED, seconds=0.0)).when(start()).refused("precondition", "build_id")


def test_a_builder_claims_a_requested_build() -> None:
    given(BUILD, REQUESTED).when(start()).then(started())


def test_a_claimed_build_is_no_other_builders() -> None:
    reason = given(BUILD, REQUESTED, started(ONE)).when(start(OTHER)).refused("conflict", "builder")
    assert "one" in reason


def test_a_builder_that_was_killed_begins_its_own_build_again() -> None:
    given(BUILD, REQUESTED, started()).when(start()).then(started(attempt=2))
    given(BUILD, REQUESTED, started(), started(attempt=2)).when(start()).then(started(attempt=3))


def test_a_build_that_ended_is_not_begun_again() -> None:
    given(BUILD, REQUESTED, started(), SUCCEEDED).when(start()).refused("precondition", "build_id")


def test_a_build_that_nobody_requested_is_not_found() -> None:
    for command in (start(), SUCCEED, StopBuild(**ids(), build_id=B, reason="x")):
        given(BUILD).when(command).refused("not_found", "build_id")


def test_steps_and_the_end_are_told_by_who_runs_it() -> None:
    step = ReportBuildStep(**ids(), build_id=B, step="context", seconds=0.5, reused=True, detail="cached")
    told = BuildStepFinished(build_id=B, deployment_id=D, step="context", seconds=0.5, reused=True, detail="cached")
    given(BUILD, REQUESTED, started()).when(step).then(told)
    given(BUILD, REQUESTED, started(), told).when(SUCCEED).then(SUCCEEDED)
    failed = ReportBuildFailed(**ids(), build_id=B, step="context", reason="no config", seconds=1.0)
    given(BUILD, REQUESTED, started()).when(failed).then(
        BuildFailed(build_id=B, deployment_id=D, step="context", reason="no config", seconds=1.0)
    )


def test_nothing_can_be_told_of_a_build_before_it_was_started() -> None:
    given(BUILD, REQUESTED).when(SUCCEED).refused("precondition", "build_id")


def test_a_build_is_stopped_once_and_what_is_told_afterwards_is_old_news() -> None:
    stop = StopBuild(**ids(), build_id=B, reason="not wanted")
    given(BUILD, REQUESTED).when(stop).then(STOPPED)
    given(BUILD, REQUESTED, started()).when(stop).then(STOPPED)
    given(BUILD, REQUESTED, started(), STOPPED).when(stop).unchanged()
    given(BUILD, REQUESTED, started(), STOPPED).when(SUCCEED).unchanged()
