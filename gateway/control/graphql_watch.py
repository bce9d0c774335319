"""The root fields by which the stock client watches a development deployment.

It reads failures from the answer, not from errors: `needs_full_deploy` makes it say that only a push helps.
"""

from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Mapping
from typing import Any

from events.base import BlobDigest
from gateway.control import find, patches
from gateway.control.bodies import parse
from gateway.control.errors import ApiError, invalid
from gateway.control.plane import Plane, Visit
from handlers.base import Refused
from projections.deployments import Deployment

Arguments = Mapping[str, Any]


async def signature(plane: Plane, digest: BlobDigest) -> str:
    return (await plane.blobs.read(digest)).decode()


def _slot(plane: Plane, arguments: Arguments) -> Deployment:
    return find.deployment(plane, str(arguments.get("id", "")), "development")


async def truss_watch_state(plane: Plane, visit: Visit, arguments: Arguments) -> Any:
    """A container "built from push" has never been asked to be anything else."""
    slot = _slot(plane, arguments)
    if not slot.patches.chain:
        return {"is_container_built_from_push": True, "django_patch_state": None, "container_patch_state": None}
    return {
        "is_container_built_from_push": slot.patches.attempt == 0,
        "django_patch_state": await _state(plane, patches.newest(slot)),
        "container_patch_state": await _state(plane, patches.running(slot)),
    }


async def _state(plane: Plane, point: patches.Point) -> dict[str, str]:
    return {"current_hash": point.hash, "current_signature": await signature(plane, point.signature)}


async def stage_patch_for_draft_truss(plane: Plane, visit: Visit, arguments: Arguments) -> Any:
    slot = _slot(plane, arguments)
    try:
        document = b64decode(str(arguments.get("patch", "")), validate=True)
    except (NotBase64, ValueError) as error:
        raise invalid(f"patch is not base64 ({error})", "patch") from error
    try:
        await patches.stage(plane, visit, slot, parse(document, patches.Patch))
    except Refused as refused:
        return _answer(plane, slot, patches.Verdict(refused.reason, needs_push=True))
    except patches.NeedsPush as needed:
        return _answer(plane, slot, patches.Verdict(needed.problem.message, needs_push=True))
    return _answer(plane, slot, patches.Verdict())


async def sync_draft_truss(plane: Plane, visit: Visit, arguments: Arguments) -> Any:
    slot = _slot(plane, arguments)
    try:
        verdict = await patches.sync(plane, visit, slot)
    except (Refused, ApiError) as refused:
        reason = refused.reason if isinstance(refused, Refused) else refused.problem.message
        verdict = patches.Verdict(reason, needs_push=isinstance(refused, Refused))
    return _answer(plane, slot, verdict)


def _answer(plane: Plane, slot: Deployment, verdict: patches.Verdict) -> dict[str, Any]:
    return {
        "id": slot.model_id,
        "name": plane.catalogue.models[slot.model_id].name,
        "version_id": slot.deployment_id,
        "succeeded": verdict.failure is None,
        "needs_full_deploy": verdict.needs_push,
        "error": verdict.failure,
    }
