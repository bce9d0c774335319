"""From a push to replicas: request the build, bring the built deployment up, wind down what nobody wants any more.

pushed -> RequestBuild -> (built) -> BringUp        retried: the build again if it had failed, else BringUp again
copied -> RequestBuild with what was built for the original
deactivated, failed, deleted -> StopBuild, ScaleToZero
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

import msgspec

from events.base import ORIGIN, BlobDigest, BuildId, DeploymentId, ModelId, Position, derive
from events.build import BuildFailed, BuildRequested, BuildStopped, BuildSucceeded
from events.codec import Recorded
from events.model import (
    DeploymentActivated,
    DeploymentCopied,
    DeploymentDeactivated,
    DeploymentDeleted,
    DeploymentFailed,
    DeploymentPushed,
    DeploymentRetried,
    ModelDeleted,
)
from events.scaling import ReplicaTargetLowered, ReplicaTargetRaised, ScaledToZero
from handlers.base import NOW, Cause, Due, Reactor, cause, caused_by
from handlers.deciders.build import RequestBuild, StopBuild
from handlers.deciders.scaling import BringUp, ScaleToZero

NAME = "bring_up"


class Course(msgspec.Struct):
    """One deployment on its way up or down."""

    model_id: ModelId
    deployment_id: DeploymentId
    source: BlobDigest
    config: BlobDigest
    why: Cause
    """The last event that called for something."""
    wanted: bool = True
    ended: Literal["deactivated", "failed", "deleted"] = "failed"
    """Why it is not wanted, while it is not."""
    attempt: int = 1
    build: Literal["none", "running", "succeeded", "failed"] = "none"
    artifact: BuildSucceeded | None = None
    reuses: BuildSucceeded | None = None
    """It is a copy, and this is what the original runs."""
    brought_up: bool = False
    target: int = 0
    moved: Position = ORIGIN
    """Where the target last changed: somebody may raise it once more who has not yet seen that it is not wanted."""


class BringUpState(msgspec.Struct):
    courses: dict[DeploymentId, Course] = {}
    dues: dict[DeploymentId, Due] = {}
    """What is called for now; at most one step a deployment."""


def build_id_of(course: Course) -> BuildId:
    return BuildId(derive("build", course.deployment_id, course.attempt))


def evolve(state: BringUpState, recorded: Recorded) -> BringUpState:
    event = recorded.event
    if isinstance(event, DeploymentPushed):
        state.courses[event.deployment_id] = Course(
            event.model_id, event.deployment_id, event.source, event.config, cause(recorded)
        )
    if isinstance(event, ModelDeleted):
        touched = [c.deployment_id for c in state.courses.values() if c.model_id == event.model_id]
    else:
        touched = [getattr(event, "deployment_id", DeploymentId(""))]
    for deployment_id in touched:
        course = state.courses.get(deployment_id)
        if course is not None:
            _change(state, course, recorded)
            _settle(state, course)
    return state


def _change(state: BringUpState, course: Course, recorded: Recorded) -> None:
    match recorded.event:
        case DeploymentCopied() as event:
            original = state.courses.get(event.original)
            course.reuses = original.artifact if original is not None else None
        case BuildRequested():
            course.build = "running"
        case BuildSucceeded() as event:
            course.build, course.artifact, course.why = "succeeded", event, cause(recorded)
        case BuildFailed() | BuildStopped():
            course.build, course.wanted = "failed", False
        case ReplicaTargetRaised() | ReplicaTargetLowered() as event:
            course.target, course.brought_up, course.moved = event.target, True, recorded.position
        case ScaledToZero() as event:
            course.target = 0
            if event.rule in ("deactivated", "failed"):  # It may be wanted again since, before this came.
                course.brought_up = False
        case DeploymentDeactivated():
            course.wanted, course.ended, course.why = False, "deactivated", cause(recorded)
        case DeploymentFailed():
            course.wanted, course.ended, course.why = False, "failed", cause(recorded)
        case DeploymentDeleted() | ModelDeleted():
            course.wanted, course.ended, course.why = False, "deleted", cause(recorded)
        case DeploymentActivated() | DeploymentRetried():
            course.wanted, course.brought_up, course.why = True, course.target > 0, cause(recorded)
            if course.build == "failed":
                course.build, course.attempt = "none", course.attempt + 1


def _settle(state: BringUpState, course: Course) -> None:
    """Works out the one step that is called for; level-triggered, so any earlier answer is replaced."""
    due = _step(course)
    if due is not None:
        state.dues[course.deployment_id] = due
    else:
        state.dues.pop(course.deployment_id, None)


def _step(course: Course) -> Due | None:
    deployment_id = course.deployment_id
    if course.wanted and course.build == "none":
        fields = caused_by(course.why, NAME, "build", deployment_id)
        return Due(
            NOW,
            RequestBuild(
                **fields,
                build_id=build_id_of(course),
                model_id=course.model_id,
                deployment_id=deployment_id,
                source=course.source,
                config=course.config,
                reuses=course.reuses,
            ),
        )
    if course.wanted and course.build == "succeeded" and not course.brought_up:
        fields = caused_by(course.why, NAME, "up", deployment_id)
        return Due(NOW, BringUp(**fields, deployment_id=deployment_id, rule="activation"))
    if not course.wanted and course.build == "running":
        fields = caused_by(course.why, NAME, "stop", deployment_id)
        return Due(
            NOW,
            StopBuild(**fields, build_id=build_id_of(course), reason=f"the deployment was {course.ended}"),
        )
    if not course.wanted and course.target > 0:
        fields = caused_by(course.why, NAME, "down", deployment_id, course.moved)
        return Due(NOW, ScaleToZero(**fields, deployment_id=deployment_id, rule=course.ended))
    return None


def due(state: BringUpState) -> Iterable[Due]:
    return tuple(state.dues.values())


def _initial(now: datetime) -> BringUpState:
    return BringUpState()


BRING_UP: Reactor[BringUpState] = Reactor(NAME, _initial, evolve, due)
