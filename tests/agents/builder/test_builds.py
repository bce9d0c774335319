"""Which builds are open on record, and what a builder does about them."""

from datetime import UTC, datetime

from agents.builds import BUILDS, DEADLINE_S, Builds, to_cancel, to_start
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
    Position,
    StreamName,
)
from events.build import BuildFailed, BuildRequested, BuildStarted, BuildStopped
from events.codec import Recorded
from events.model import DeploymentPushed
from events.union import AnyEvent
from projections.base import fold

ME, OTHER = NodeId("me"), NodeId("other")


def history(*events: AnyEvent) -> list[Recorded]:
    meta = Metadata(
        id=EventId("e"), command_id=CommandId("c"), correlation_id=CorrelationId("r"), causation_id=None,
        actor=Actor("test", "internal"), at=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    return [Recorded(Position(n), StreamName("build", "b"), event, meta) for n, event in enumerate(events, 1)]


def requested(name: str) -> BuildRequested:
    return BuildRequested(
        build_id=BuildId(name), model_id=ModelId("m"), deployment_id=DeploymentId(f"d-{name}"),
        source=BlobDigest("s"), config=BlobDigest("c"),
    )  # fmt: skip


def started(name: str, builder: NodeId, attempt: int = 1) -> BuildStarted:
    return BuildStarted(
        build_id=BuildId(name), deployment_id=DeploymentId(f"d-{name}"), builder=builder, attempt=attempt
    )


def pushed(name: str, deploy_timeout_s: int) -> DeploymentPushed:
    return DeploymentPushed(
        model_id=ModelId("m"), deployment_id=DeploymentId(f"d-{name}"), number=1, name=name, is_development=False,
        source=BlobDigest("s"), config=BlobDigest("c"), raw_config=None, environment=None, scale_down_previous=True,
        cpu_millicores=1, memory_bytes=1, predict_concurrency=1, deploy_timeout_s=deploy_timeout_s, labels="{}",
        client="{}",
    )  # fmt: skip


def names(builds: Builds, running: tuple[str, ...] = (), at_most: int = 2) -> list[str]:
    return [build.build_id for build in to_start(builds, ME, [BuildId(name) for name in running], at_most)]


def test_the_oldest_are_started_up_to_the_bound() -> None:
    builds = fold(BUILDS, history(requested("a"), requested("b"), requested("c")))
    assert names(builds) == ["a", "b"]
    assert names(builds, running=("a",)) == ["b"]
    assert names(builds, running=("a", "b")) == []


def test_another_builder_s_build_is_left_and_our_own_that_does_not_run_is_begun_again() -> None:
    builds = fold(BUILDS, history(requested("a"), requested("b"), started("a", OTHER), started("b", ME, 2)))
    assert names(builds) == ["b"] and builds.open[BuildId("b")].attempt == 2
    assert names(builds, running=("b",)) == []


def test_what_has_ended_is_forgotten_and_cancelled_where_it_runs() -> None:
    ends = (
        BuildFailed(build_id=BuildId("a"), deployment_id=DeploymentId("d-a"), step="s", reason="r", seconds=1.0),
        BuildStopped(build_id=BuildId("b"), deployment_id=DeploymentId("d-b"), reason="r"),
    )
    builds = fold(BUILDS, history(requested("a"), requested("b"), requested("c"), *ends))
    assert list(builds.open) == ["c"]
    assert to_cancel(builds, [BuildId("b"), BuildId("c")]) == ["b"]


def test_the_deadline_is_the_deployment_s() -> None:
    builds = fold(BUILDS, history(pushed("a", 90), requested("a"), requested("b")))
    assert [build.deadline_s for build in builds.open.values()] == [90, DEADLINE_S]
