"""Rules of a model and its deployments: numbers and names are unique, one development slot, delete is final."""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, get_args

import msgspec

from events.base import BlobDigest, DeploymentId, Event, ModelId, derive
from events.model import (
    DeploymentActivated,
    DeploymentCopied,
    DeploymentDeactivated,
    DeploymentDeleted,
    DeploymentFailed,
    DeploymentLabelled,
    DeploymentPushed,
    DeploymentRenamed,
    DeploymentRetried,
    DevelopmentPatched,
    DevelopmentSyncRequested,
    ModelDeleted,
    ModelRegistered,
)
from handlers.base import Command, Context, Decider, Refused, told

DEVELOPMENT = "development"
"""The name of the one mutable deployment of a model, and of its address."""
_NAME = re.compile(r"[0-9a-zA-Z_\-.]{1,128}")
_BY_NUMBER = re.compile(r"deployment-([0-9]+)")


def model_id_of(team: str, name: str) -> ModelId:
    """The id of the model of this name: known before it exists, so that two first pushes meet at one history."""
    return ModelId(derive("model", team, name))


class PushDeployment(Command, frozen=True, kw_only=True):
    model_id: ModelId
    model_name: str
    team: str
    name: str | None
    """None: `deployment-<number>`."""
    is_development: bool
    source: BlobDigest
    config: BlobDigest
    raw_config: BlobDigest | None
    environment: str | None
    scale_down_previous: bool
    cpu_millicores: int
    memory_bytes: int
    predict_concurrency: int
    deploy_timeout_s: int
    labels: str
    client: str
    copy_of: DeploymentId | None = None
    """The deployment whose build it runs; None: it is built from its source."""
    copy_reason: str = ""


class PatchDevelopment(Command, frozen=True, kw_only=True):
    """Append to the chain of a development deployment; nothing is applied before a sync."""

    model_id: ModelId
    deployment_id: DeploymentId
    base_hash: str
    """truss's hash of what was built: where the chain begins."""
    from_hash: str
    to_hash: str
    patch: BlobDigest
    signature: BlobDigest
    kinds: tuple[str, ...]


class SyncDevelopment(Command, frozen=True, kw_only=True):
    """Have the running replica take on the whole chain, or try again to."""

    model_id: ModelId
    deployment_id: DeploymentId


class FailDeployment(Command, frozen=True, kw_only=True):
    model_id: ModelId
    deployment_id: DeploymentId
    reason: str


class RetryDeployment(Command, frozen=True, kw_only=True):
    model_id: ModelId
    deployment_id: DeploymentId


class RenameDeployment(Command, frozen=True, kw_only=True):
    model_id: ModelId
    deployment_id: DeploymentId
    name: str


class LabelDeployment(Command, frozen=True, kw_only=True):
    model_id: ModelId
    deployment_id: DeploymentId
    labels: str
    """A JSON object: all that it is to have."""


class DeactivateDeployment(Command, frozen=True, kw_only=True):
    model_id: ModelId
    deployment_id: DeploymentId
    reason: str
    serves: str | None = None
    """As in DeleteDeployment; None when whoever asks has said that he knows."""


class ActivateDeployment(Command, frozen=True, kw_only=True):
    model_id: ModelId
    deployment_id: DeploymentId


class DeleteDeployment(Command, frozen=True, kw_only=True):
    model_id: ModelId
    deployment_id: DeploymentId
    serves: str | None
    """The environment that needs it, as the caller's view has it: it is current there, or being promoted to it."""


class DeleteModel(Command, frozen=True, kw_only=True):
    model_id: ModelId


ModelCommand = (
    PushDeployment
    | PatchDevelopment
    | SyncDevelopment
    | FailDeployment
    | RetryDeployment
    | RenameDeployment
    | LabelDeployment
    | DeactivateDeployment
    | ActivateDeployment
    | DeleteDeployment
    | DeleteModel
)
Phase = Literal["active", "failed", "inactive", "deleted"]


class Slot(msgspec.Struct, frozen=True):
    name: str
    phase: Phase
    attempt: int = 1
    is_development: bool = False
    patches: int = 0
    """The length of its chain."""
    source: str = ""
    """truss's hash of the source with the chain; empty while there is no chain."""
    syncs: int = 0
    labels: str = "{}"


class ModelState(msgspec.Struct, frozen=True, tag=True):
    registered: bool = False
    pushes: int = 0
    slots: Mapping[DeploymentId, Slot] = MappingProxyType({})


_PHASE_AFTER: Mapping[type[Event], Phase] = MappingProxyType(
    {
        DeploymentFailed: "failed",
        DeploymentDeactivated: "inactive",
        DeploymentActivated: "active",
        DeploymentDeleted: "deleted",
    }
)


def evolve(state: ModelState, event: Event) -> ModelState:
    replace = msgspec.structs.replace
    match event:
        case ModelRegistered():
            return replace(state, registered=True)
        case ModelDeleted():
            gone = {key: replace(slot, phase="deleted") for key, slot in state.slots.items()}
            return replace(state, registered=False, slots=gone)
        case DeploymentPushed():
            slot = Slot(event.name, "active", is_development=event.is_development, labels=event.labels)
            return replace(state, pushes=event.number, slots={**state.slots, event.deployment_id: slot})
        case DeploymentRetried():
            return _with(state, event.deployment_id, phase="active", attempt=event.attempt)
        case DeploymentRenamed():
            return _with(state, event.deployment_id, name=event.name)
        case DeploymentLabelled():
            return _with(state, event.deployment_id, labels=event.labels)
        case DevelopmentPatched():
            return _with(state, event.deployment_id, patches=event.number, source=event.to_hash)
        case DevelopmentSyncRequested():
            return _with(state, event.deployment_id, syncs=event.attempt)
        case DeploymentFailed() | DeploymentDeactivated() | DeploymentActivated() | DeploymentDeleted():
            return _with(state, event.deployment_id, phase=_PHASE_AFTER[type(event)])
        case _:
            return state


def _with(state: ModelState, deployment_id: DeploymentId, **changes: Any) -> ModelState:
    slot = msgspec.structs.replace(state.slots[deployment_id], **changes)
    return msgspec.structs.replace(state, slots={**state.slots, deployment_id: slot})


def decide(command: ModelCommand, state: ModelState, ctx: Context) -> Sequence[Event]:
    if isinstance(command, PushDeployment):
        return _push(command, state)
    if not state.registered:
        raise Refused("not_found", f"there is no model {command.model_id}", "model_id")
    if isinstance(command, DeleteModel):
        return (told(ModelDeleted, command),)
    slot = state.slots.get(command.deployment_id)
    if slot is None or slot.phase == "deleted":
        raise Refused("not_found", f"there is no deployment {command.deployment_id}", "deployment_id")
    match command:
        case PatchDevelopment():
            return _patch(command, slot)
        case SyncDevelopment():
            _require_patchable(slot)
            if not slot.patches:
                return ()
            return (told(DevelopmentSyncRequested, command, number=slot.patches, attempt=slot.syncs + 1),)
        case FailDeployment():
            return (told(DeploymentFailed, command),) if slot.phase == "active" else ()
        case RetryDeployment():
            return _retry(command, slot)
        case RenameDeployment():
            return _rename(command, state, slot)
        case LabelDeployment():
            return () if command.labels == slot.labels else (told(DeploymentLabelled, command),)
        case DeactivateDeployment():
            if slot.phase == "inactive":
                return ()
            if command.serves is not None:
                reason = f"{command.serves} needs it, and would answer 404: ask with force=true if that is wanted"
                raise Refused("precondition", reason, "force")
            return (told(DeploymentDeactivated, command),)
        case ActivateDeployment():
            return () if slot.phase == "active" else (told(DeploymentActivated, command),)
        case DeleteDeployment():
            if command.serves is not None:
                reason = f"{command.serves} needs it: promote another deployment there first"
                raise Refused("precondition", reason, "deployment_id")
            return (told(DeploymentDeleted, command),)


def _require_patchable(slot: Slot) -> None:
    if not slot.is_development:
        raise Refused("precondition", "only a development deployment takes patches: push again", "deployment_id")
    if slot.phase != "active":
        now = "failed" if slot.phase == "failed" else "is deactivated"
        raise Refused("precondition", f"the development deployment {now}: push again", "deployment_id")


def _patch(command: PatchDevelopment, slot: Slot) -> Sequence[Event]:
    _require_patchable(slot)
    source = slot.source or command.base_hash
    if command.to_hash == source:
        return ()
    if command.from_hash != source:
        reason = (
            f"the patch was made against source {command.from_hash[:12]}, and the deployment's is {source[:12]} by now"
            " (another watch, or an older push): push again"
        )
        raise Refused("conflict", reason, "prev_hash")
    return (told(DevelopmentPatched, command, number=slot.patches + 1),)


def _retry(command: RetryDeployment, slot: Slot) -> Sequence[Event]:
    if slot.phase == "inactive":
        raise Refused("precondition", "the deployment is deactivated: activate it instead", "deployment_id")
    return (told(DeploymentRetried, command, attempt=slot.attempt + 1),)


def _rename(command: RenameDeployment, state: ModelState, slot: Slot) -> Sequence[Event]:
    if command.name == slot.name:
        return ()
    if slot.is_development:
        raise Refused("precondition", "the development deployment keeps its name", "name")
    _check_name(command.name)
    coming = _BY_NUMBER.fullmatch(command.name)
    if coming is not None and int(coming[1]) > state.pushes:
        raise Refused("invalid", f"{command.name!r} will be the name of a push to come: choose another", "name")
    if any(other.name == command.name and other.phase != "deleted" for other in state.slots.values()):
        raise Refused("conflict", f"the model already has a deployment named {command.name!r}: choose another", "name")
    return (told(DeploymentRenamed, command),)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise Refused("invalid", f"deployment name {name!r} may hold only letters, digits, _ - and .", "name")
    if name == DEVELOPMENT:
        raise Refused("invalid", f"{name!r} is the development deployment's name: choose another", "name")


def _push(command: PushDeployment, state: ModelState) -> Sequence[Event]:
    if not command.model_name.strip():
        raise Refused("invalid", "model_name is empty: set it in config.yaml or with --model-name", "model_name")
    if command.is_development and command.environment is not None:
        reason = "a development deployment cannot be promoted: push without --watch to promote"
        raise Refused("invalid", reason, "environment")
    number = state.pushes + 1
    deployment_id = DeploymentId(derive("deployment", command.id))
    name = DEVELOPMENT if command.is_development else command.name or f"deployment-{number}"
    if not command.is_development:
        _check_name(name)
    original = state.slots.get(command.copy_of) if command.copy_of is not None else None
    if command.copy_of is not None and (original is None or original.phase == "deleted"):
        raise Refused("not_found", f"there is no deployment {command.copy_of} to copy", "deployment_id")
    replaced: list[Event] = []
    for other_id, slot in state.slots.items():
        if slot.phase == "deleted" or slot.name != name:
            continue
        if not command.is_development:
            reason = f"the model already has a deployment named {name!r}: choose another --deployment-name"
            raise Refused("conflict", reason, "name")
        replaced.append(DeploymentDeleted(model_id=command.model_id, deployment_id=other_id))
    pushed: list[Event] = [told(DeploymentPushed, command, deployment_id=deployment_id, number=number, name=name)]
    if command.copy_of is not None:
        fields = {"deployment_id": deployment_id, "original": command.copy_of, "reason": command.copy_reason}
        pushed.append(told(DeploymentCopied, command, **fields))
    if state.registered:
        return (*replaced, *pushed)
    registered = ModelRegistered(model_id=command.model_id, name=command.model_name, team=command.team)
    return (registered, *replaced, *pushed)


MODEL: Decider[ModelCommand, ModelState] = Decider(
    category="model",
    commands=get_args(ModelCommand),
    initial=ModelState(),
    aggregate_id=lambda command: command.model_id,
    decide=decide,
    evolve=evolve,
)
