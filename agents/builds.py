"""The builds that are not over, and what a builder should do about them: a pure fold and pure choices."""

from collections.abc import Collection

import msgspec

from events.base import BlobDigest, BuildId, CorrelationId, DeploymentId, EventId, NodeId
from events.build import BuildFailed, BuildRequested, BuildStarted, BuildStopped, BuildSucceeded
from events.codec import Recorded
from events.model import DeploymentDeleted, DeploymentPushed
from projections.base import Projection

ATTEMPTS = 5
"""A build whose builder died this often is given up: it is likely what kills the builder."""
DEADLINE_S = 3600


class OpenBuild(msgspec.Struct, frozen=True):
    """A build that was requested and has not ended."""

    build_id: BuildId
    deployment_id: DeploymentId
    source: BlobDigest
    correlation_id: CorrelationId
    requested: EventId
    """The event that causes all of this build's."""
    deadline_s: int
    builder: NodeId | None = None
    attempt: int = 0


class Builds(msgspec.Struct):
    open: dict[BuildId, OpenBuild] = {}
    """In the order in which they were requested."""
    deadlines_s: dict[DeploymentId, int] = {}


def evolve(builds: Builds, recorded: Recorded) -> Builds:
    event = recorded.event
    match event:
        case DeploymentPushed():
            builds.deadlines_s[event.deployment_id] = event.deploy_timeout_s
        case DeploymentDeleted():
            builds.deadlines_s.pop(event.deployment_id, None)
        case BuildRequested():
            builds.open[event.build_id] = OpenBuild(
                event.build_id,
                event.deployment_id,
                event.source,
                recorded.meta.correlation_id,
                recorded.meta.id,
                builds.deadlines_s.get(event.deployment_id, 0) or DEADLINE_S,
            )
        case BuildStarted():
            started = builds.open.get(event.build_id)
            if started is not None:
                builds.open[event.build_id] = msgspec.structs.replace(
                    started, builder=event.builder, attempt=event.attempt
                )
        case BuildSucceeded() | BuildFailed() | BuildStopped():
            builds.open.pop(event.build_id, None)
    return builds


BUILDS: Projection[Builds] = Projection("builds", 1, Builds, Builds, evolve)


def to_start(builds: Builds, builder: NodeId, running: Collection[BuildId], at_most: int) -> list[OpenBuild]:
    """The oldest that nobody has claimed, or that are ours and not running: we were killed while they were."""
    free = max(0, at_most - len(running))
    ours = (build for build in builds.open.values() if build.builder in (None, builder))
    return [build for build in ours if build.build_id not in running][:free]


def to_cancel(builds: Builds, running: Collection[BuildId]) -> list[BuildId]:
    """Ended on record while they run: nobody needs them any more."""
    return [build_id for build_id in running if build_id not in builds.open]
