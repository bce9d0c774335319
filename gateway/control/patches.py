"""Live reload, whichever way it comes in: patches are checked and appended to the chain, and a sync waits for its end.

Nothing is applied here. The node agent does that when the log says that a sync was asked for, and reports how it went.
"""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import msgspec
from blake3 import blake3

from events.base import BlobDigest, DeploymentId
from events.model import DevelopmentSyncRequested
from gateway.control.errors import ApiError, invalid, not_found
from gateway.control.plane import Plane, Visit
from handlers.deciders.model import PatchDevelopment, SyncDevelopment
from projections.deployments import Deployment

SYNC_DEADLINE_S = 100.0
"""The stock client gives up after 120 s."""
PATCHABLE = ("model_code", "package", "config", "python_requirement", "environment_variable", "external_data")
ACTIONS = ("ADD", "UPDATE", "REMOVE")


class Signature(msgspec.Struct, frozen=True):
    """truss's: what a source tree is, file by file."""

    content_hashes_by_path: dict[str, str | None]
    config: str
    requirements_file_requirements: list[str] = []


class Operation(msgspec.Struct, frozen=True):
    type: str
    body: dict[str, Any]


class Patch(msgspec.Struct, frozen=True):
    """As the stock client sends it."""

    prev_hash: str
    next_hash: str
    next_signature: Signature
    patch_ops: list[Operation]


class Point(msgspec.Struct, frozen=True):
    """A source that the deployment has had."""

    hash: str
    signature: BlobDigest


class Verdict(msgspec.Struct, frozen=True):
    failure: str | None = None
    needs_push: bool = False


class NeedsPush(ApiError):
    """No patch can bring this change to the replica."""

    def __init__(self, reason: str, field: str) -> None:
        super().__init__(409, reason, code="needs_full_deploy", field=field, fix="push again")


def content_hash(hashes: Mapping[str, str | None]) -> str:
    """truss's hash of a directory: paths in the order of their parts, each with what the file holds."""
    whole = blake3()
    for path in sorted(hashes, key=lambda path: PurePosixPath(path).parts):
        whole.update(blake3(path.encode()).digest())
        if (held := hashes[path]) is not None:
            try:
                whole.update(bytes.fromhex(held))
            except ValueError as error:
                message = f"the hash of {path} is not hexadecimal: {held!r}"
                raise invalid(message, "next_signature.content_hashes_by_path") from error
    return whole.hexdigest()


def pushed(found: Deployment) -> Point:
    """What the chain begins with."""
    if found.truss_signature is None:
        raise ApiError(409, "the deployment is not built yet: watch it when it is", code="precondition")
    return Point(found.truss_hash, found.truss_signature)


def running(found: Deployment) -> Point:
    return _point(found, found.running)


def newest(found: Deployment) -> Point:
    return _point(found, len(found.patches.chain))


def _point(found: Deployment, number: int) -> Point:
    if not number:
        return pushed(found)
    patch = found.patches.chain[number - 1]
    return Point(patch.to_hash, patch.signature)


def is_synced(found: Deployment) -> bool:
    done = found.synced.attempt == found.patches.attempt and found.synced.failure is None
    return done and found.patches.wanted == len(found.patches.chain)


async def stage(plane: Plane, visit: Visit, found: Deployment, patch: Patch) -> None:
    """Raises ApiError, Refused. Whole before anything is written."""
    _check_operations(patch.patch_ops)
    if (own := content_hash(patch.next_signature.content_hashes_by_path)) != patch.next_hash:
        message = f"next_hash is {patch.next_hash[:12]}, but the files of next_signature come to {own[:12]}"
        raise invalid(message, "next_hash", "send the hash and the signature of the same source")
    await visit.do(
        PatchDevelopment,
        model_id=found.model_id,
        deployment_id=found.deployment_id,
        base_hash=pushed(found).hash,
        from_hash=patch.prev_hash,
        to_hash=patch.next_hash,
        patch=await plane.blobs.put(msgspec.json.encode(patch.patch_ops)),
        signature=await plane.blobs.put(msgspec.json.encode(patch.next_signature)),
        kinds=tuple(sorted({each.type for each in patch.patch_ops})),
    )


def _check_operations(operations: Sequence[Operation]) -> None:
    if not operations:
        raise invalid("the patch changes nothing: send at least one operation", "patch_ops")
    for number, each in enumerate(operations):
        field = f"patch_ops[{number}]"
        if each.type not in PATCHABLE:
            raise NeedsPush(f"a change of {each.type} needs a build, it cannot be patched", f"{field}.type")
        if each.body.get("action") not in ACTIONS:
            message = f"{field}.body.action must be one of {', '.join(ACTIONS)}, not {each.body.get('action')!r}"
            raise invalid(message, f"{field}.body.action")
        path = each.body.get("path", "")
        if not isinstance(path, str) or path.startswith("/") or ".." in PurePosixPath(path).parts:
            raise invalid(f"{path!r} is no path inside the project", f"{field}.body.path")


async def sync(plane: Plane, visit: Visit, found: Deployment) -> Verdict:
    """Asks for it and waits until it is done, has failed, or takes too long. Raises ApiError, Refused."""
    if not found.patches.chain or is_synced(found):
        return Verdict()
    outcome = await visit.do(SyncDevelopment, model_id=found.model_id, deployment_id=found.deployment_id)
    attempts = [each.attempt for each in outcome.events if isinstance(each, DevelopmentSyncRequested)]
    attempt = attempts[0] if attempts else found.patches.attempt
    try:
        async with asyncio.timeout(SYNC_DEADLINE_S):
            return await _ended(plane, found.deployment_id, attempt)
    except TimeoutError:
        why = f"it is still being applied after {SYNC_DEADLINE_S:g} s: see the logs, and save again"
        return Verdict(why)


async def _ended(plane: Plane, deployment_id: DeploymentId, attempt: int) -> Verdict:
    view = plane.views.catalogue
    while True:
        found = view.state.deployments.get(deployment_id)
        if found is None:
            raise not_found("the deployment was pushed anew or deleted meanwhile", "deployment_id")
        if found.synced.attempt >= attempt:
            return Verdict(found.synced.failure, found.synced.needs_push)
        if not found.target and not found.replicas:
            return Verdict()  # The next replica begins with it.
        await view.reached(type(view.position)(view.position + 1))
