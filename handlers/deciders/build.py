"""Rules of a build: requested once, claimed by one builder, ended once. A builder may begin its own build again."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

import msgspec

from events.base import BlobDigest, BuildId, DeploymentId, Event, ModelId, NodeId
from events.build import (
    BuildFailed,
    BuildRequested,
    BuildStarted,
    BuildStepFinished,
    BuildStopped,
    BuildSucceeded,
)
from events.weights import ManifestId, Mount, WeightsMirrored, WeightsMirrorFailed, WeightsPinned
from handlers.base import Command, Context, Decider, Refused, told


class RequestBuild(Command, frozen=True, kw_only=True):
    build_id: BuildId
    model_id: ModelId
    deployment_id: DeploymentId
    source: BlobDigest
    config: BlobDigest
    reuses: BuildSucceeded | None = None
    """What was built from the same source for another deployment: nothing is left to do."""


class StartBuild(Command, frozen=True, kw_only=True):
    build_id: BuildId
    builder: NodeId


class ReportBuildStep(Command, frozen=True, kw_only=True):
    build_id: BuildId
    step: str
    seconds: float
    reused: bool
    detail: str


class ReportWeightsPinned(Command, frozen=True, kw_only=True):
    build_id: BuildId
    source: str
    mount_location: str
    revision: str
    files: int
    bytes: int


class ReportWeightsMirrored(Command, frozen=True, kw_only=True):
    build_id: BuildId
    source: str
    mount_location: str
    revision: str
    manifest_id: ManifestId
    files: int
    bytes: int
    chunks: int
    bytes_read: int
    bytes_stored: int
    seconds: float


class ReportWeightsMirrorFailed(Command, frozen=True, kw_only=True):
    build_id: BuildId
    source: str
    mount_location: str
    kind: str
    reason: str
    seconds: float


class ReportBuildSucceeded(Command, frozen=True, kw_only=True):
    build_id: BuildId
    bundle: BlobDigest
    environment: BlobDigest
    python_version: str
    truss_hash: str
    truss_signature: BlobDigest
    seconds: float
    weights: tuple[Mount, ...] = ()


class ReportBuildFailed(Command, frozen=True, kw_only=True):
    build_id: BuildId
    step: str
    reason: str
    seconds: float


class StopBuild(Command, frozen=True, kw_only=True):
    build_id: BuildId
    reason: str


BuildCommand = (
    RequestBuild
    | StartBuild
    | ReportBuildStep
    | ReportWeightsPinned
    | ReportWeightsMirrored
    | ReportWeightsMirrorFailed
    | ReportBuildSucceeded
    | ReportBuildFailed
    | StopBuild
)


class BuildState(msgspec.Struct, frozen=True, tag=True):
    phase: Literal["none", "requested", "running", "ended"] = "none"
    deployment_id: DeploymentId = DeploymentId("")
    builder: NodeId | None = None
    attempt: int = 0


def evolve(state: BuildState, event: Event) -> BuildState:
    match event:
        case BuildRequested():
            return BuildState("requested", event.deployment_id)
        case BuildStarted():
            return BuildState("running", event.deployment_id, event.builder, event.attempt)
        case BuildSucceeded() | BuildFailed() | BuildStopped():
            return msgspec.structs.replace(state, phase="ended")
        case _:
            return state


def decide(command: BuildCommand, state: BuildState, ctx: Context) -> Sequence[Event]:
    if isinstance(command, RequestBuild):
        return _request(command) if state.phase == "none" else ()
    if state.phase == "none":
        raise Refused("not_found", f"there is no build {command.build_id}", "build_id")
    if isinstance(command, StartBuild):
        return _start(command, state)
    if state.phase == "ended":
        return ()
    if isinstance(command, StopBuild):
        return (told(BuildStopped, command, deployment_id=state.deployment_id),)
    if state.phase != "running":
        raise Refused("precondition", f"build {command.build_id} has not been started", "build_id")
    return (told(_REPORTS[type(command)], command, deployment_id=state.deployment_id),)


def _request(command: RequestBuild) -> Sequence[Event]:
    requested = told(BuildRequested, command)
    if command.reuses is None:
        return (requested,)
    ids = {"build_id": command.build_id, "deployment_id": command.deployment_id}
    return (requested, msgspec.structs.replace(command.reuses, **ids, seconds=0.0))


_REPORTS: Mapping[type[Command], type[Event]] = MappingProxyType(
    {
        ReportBuildStep: BuildStepFinished,
        ReportWeightsPinned: WeightsPinned,
        ReportWeightsMirrored: WeightsMirrored,
        ReportWeightsMirrorFailed: WeightsMirrorFailed,
        ReportBuildSucceeded: BuildSucceeded,
        ReportBuildFailed: BuildFailed,
    }
)


def _start(command: StartBuild, state: BuildState) -> Sequence[Event]:
    if state.phase == "ended":
        raise Refused("precondition", f"build {command.build_id} has ended", "build_id")
    if state.phase == "running" and state.builder != command.builder:
        raise Refused("conflict", f"build {command.build_id} is {state.builder}'s", "builder")
    return (told(BuildStarted, command, deployment_id=state.deployment_id, attempt=state.attempt + 1),)


BUILD: Decider[BuildCommand, BuildState] = Decider(
    category="build",
    commands=(
        RequestBuild,
        StartBuild,
        ReportBuildStep,
        ReportWeightsPinned,
        ReportWeightsMirrored,
        ReportWeightsMirrorFailed,
        ReportBuildSucceeded,
        ReportBuildFailed,
        StopBuild,
    ),
    initial=BuildState(),
    aggregate_id=lambda command: command.build_id,
    decide=decide,
    evolve=evolve,
)
