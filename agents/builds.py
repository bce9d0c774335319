"""The builds that are not over, and what a builder should do about them: a pure fold and pure choices."""

from collections.abc import Collection

import msgspec

from events.base import BlobDigest, BuildId, CorrelationId, DeploymentId, EventId, NodeId
from events.build import BuildFailed, BuildRequested, BuildStarted, BuildStopped, BuildSucceeded
from events.codec import Recorded
from events.model import DeploymentDeleted, DeploymentPushed
from events.weights import WeightsMirrorFailed, WeightsPinned
from projections.base import Projection

ATTEMPTS = 5
"""A build whose builder died this often is given up: it is likely what kills the builder."""
DEADLINE_S = 3600


class Pin(msgspec.Struct, frozen=True):
    """What a source is for a deployment, in all of its builds."""

    source: str
    mount_location: str
    revision: str


class OpenBuild(msgspec.Struct, frozen=True):
    """A build that was requested and has not ended."""

    build_id: BuildId
    deployment_id: DeploymentId
    source: BlobDigest
    config: BlobDigest
    """As it was pushed: with what the client's options added to the file in the source."""
    correlation_id: CorrelationId
    requested: EventId
    """The event that causes all of this build's."""
    deadline_s: int
    builder: NodeId | None = None
    attempt: int = 0
    pins: tuple[Pin, ...] = ()
    """What its weights are, as far as it has looked."""


class Builds(msgspec.Struct):
    open: dict[BuildId, OpenBuild] = {}
    """In the order in which they were requested."""
    deadlines_s: dict[DeploymentId, int] = {}
    pins: dict[DeploymentId, tuple[Pin, ...]] = {}


def evolve(builds: Builds, recorded: Recorded) -> Builds:
    event = recorded.event
    match event:
        case DeploymentPushed():
            builds.deadlines_s[event.deployment_id] = event.deploy_timeout_s
        case DeploymentDeleted():
            builds.deadlines_s.pop(event.deployment_id, None)
            builds.pins.pop(event.deployment_id, None)
        case BuildRequested():
            builds.open[event.build_id] = OpenBuild(
                event.build_id,
                event.deployment_id,
                event.source,
                event.config,
                recorded.meta.correlation_id,
                recorded.meta.id,
                builds.deadlines_s.get(event.deployment_id, 0) or DEADLINE_S,
                pins=builds.pins.get(event.deployment_id, ()),
            )
        case BuildStarted():
            started = builds.open.get(event.build_id)
            if started is not None:
                builds.open[event.build_id] = msgspec.structs.replace(
                    started, builder=event.builder, attempt=event.attempt
                )
        case WeightsPinned():
            pin = Pin(event.source, event.mount_location, event.revision)
            _pin(builds, event.build_id, event.deployment_id, pin)
        case WeightsMirrorFailed(kind="changed"):  # Nobody can have what was pinned any more.
            _pin(builds, event.build_id, event.deployment_id, Pin(event.source, event.mount_location, ""))
        case BuildSucceeded() | BuildFailed() | BuildStopped():
            builds.open.pop(event.build_id, None)
    return builds


def _pin(builds: Builds, build_id: BuildId, deployment_id: DeploymentId, pin: Pin) -> None:
    """In place of an earlier one of the same source; no revision: forget it."""
    others = tuple(
        each
        for each in builds.pins.get(deployment_id, ())
        if (each.source, each.mount_location) != (pin.source, pin.mount_location)
    )
    pins = (*others, pin) if pin.revision else others
    builds.pins[deployment_id] = pins
    if build_id in builds.open:
        builds.open[build_id] = msgspec.structs.replace(builds.open[build_id], pins=pins)


BUILDS: Projection[Builds] = Projection("builds", 3, Builds, Builds, evolve)


def to_start(builds: Builds, builder: NodeId, running: Collection[BuildId], at_most: int) -> list[OpenBuild]:
    """The oldest that nobody has claimed, or that are ours and not running: we were killed while they were."""
    free = max(0, at_most - len(running))
    ours = (build for build in builds.open.values() if build.builder in (None, builder))
    return [build for build in ours if build.build_id not in running][:free]


def to_cancel(builds: Builds, running: Collection[BuildId]) -> list[BuildId]:
    """Ended on record while they run: nobody needs them any more."""
    return [build_id for build_id in running if build_id not in builds.open]
