"""The root fields that the stock truss client asks for, each as a function of the same views and pushes as REST."""

from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from events.base import DeploymentId
from gateway.control import find, graphql_watch, pushes
from gateway.control.errors import ApiError, invalid, not_found
from gateway.control.plane import TEAM_ID, TEAM_NAME, Plane, Visit
from gateway.control.resources import DEFAULT_TYPE, MIB, offered
from gateway.control.shapes import instance_type
from gateway.control.uploads import REGION
from projections.deployments import Deployment, Model, Status, status
from projections.environments import PRODUCTION

Arguments = Mapping[str, Any]
Resolver = Callable[[Plane, Visit, Arguments], Awaitable[Any]]

LATER: Mapping[str, str] = MappingProxyType(
    {
        "deploy_chain_atomic": "truss chains",
        "chains": "truss chains",
        "chain": "truss chains",
        "chain_deployment": "truss chains",
        "chain_s3_upload_credentials": "truss chains",
        "create_model_version_from_inference_template": "deploying checkpoints (truss train deploy_checkpoints)",
    }
)

_STATUS: Mapping[Status, str] = MappingProxyType(
    {
        "BUILDING": "BUILDING_MODEL",
        "BUILD_FAILED": "BUILDING_MODEL_FAILED",
        "BUILD_STOPPED": "BUILDING_MODEL_STOPPED",
        "DEPLOYING": "DEPLOYING_MODEL",
        "DEPLOY_FAILED": "MODEL_DEPLOY_FAILED",
        "LOADING_MODEL": "MODEL_LOADING",
        "ACTIVE": "MODEL_READY",
        "UNHEALTHY": "MODEL_UNHEALTHY",
        "SCALED_TO_ZERO": "SCALED_TO_ZERO",
        "WAKING_UP": "SCALING_FROM_ZERO",
        "DEACTIVATING": "DEACTIVATING_MODEL",
        "INACTIVE": "DEACTIVATED_MODEL",
    }
)
"""GraphQL has names of its own for them."""


async def organization(plane: Plane, visit: Visit, arguments: Arguments) -> Any:
    return {"id": "causeway", "workspace_name": "causeway", "aws_customer_access_role_arn": None}


async def user(plane: Plane, visit: Visit, arguments: Arguments) -> Any:
    return {"id": visit.caller.key_id, "email": f"{visit.caller.name or visit.caller.key_id} (API key)"}


async def teams(plane: Plane, visit: Visit, arguments: Arguments) -> Any:
    return [{"id": TEAM_ID, "name": TEAM_NAME, "default": True}]


async def models(plane: Plane, visit: Visit, arguments: Arguments) -> Any:
    if arguments.get("chainlets_only"):
        return []
    return [_model(plane, each) for each in plane.catalogue.models.values()]


async def model(plane: Plane, visit: Visit, arguments: Arguments) -> Any:
    if "id" in arguments:
        return await _watchable(plane, find.model(plane, str(arguments["id"])))
    name = str(arguments.get("name", ""))
    found = plane.catalogue.by_name(name)
    if found is None:
        raise not_found(f"there is no model named {name!r}: push it first", "name")
    return await _watchable(plane, found)


async def _watchable(plane: Plane, found: Model) -> dict[str, Any]:
    """With what a client needs to watch its development deployment."""
    shown, slot = _model(plane, found), plane.catalogue.development_of(found.model_id)
    for version in shown["versions"]:
        if slot is not None and version["id"] == slot.deployment_id and slot.truss_signature is not None:
            version["truss_signature"] = await graphql_watch.signature(plane, slot.truss_signature)
    return shown


async def model_version(plane: Plane, visit: Visit, arguments: Arguments) -> Any:
    found = plane.catalogue.deployments.get(DeploymentId(str(arguments.get("id", ""))))
    if found is None:
        raise not_found(f"there is no deployment {arguments.get('id')!r}", "id")
    return _version(plane, found)


def _model(plane: Plane, found: Model) -> dict[str, Any]:
    versions = [_version(plane, plane.catalogue.deployments[each]) for each in reversed(found.deployments)]
    primary = [each for each in versions if each["is_primary"]]
    published = [each for each in versions if not each["is_draft"]]
    return {
        **_oracle(plane, found),
        "team": {"id": TEAM_ID, "name": TEAM_NAME},
        "versions": versions,
        "primary_version": next(iter([*primary, *published]), None),
    }


def _oracle(plane: Plane, found: Model) -> dict[str, Any]:
    return {"id": found.model_id, "name": found.name, "hostname": plane.hostname(found.model_id)}


def _version(plane: Plane, found: Deployment) -> dict[str, Any]:
    production = plane.environments.of(found.model_id).get(PRODUCTION)
    return {
        "id": found.deployment_id,
        "name": found.name,
        "semver": f"0.{found.number}.0",
        "truss_hash": found.truss_hash,
        "truss_signature": None,
        "is_draft": found.is_development,
        "is_primary": production is not None and production.current == found.deployment_id,
        "current_model_deployment_status": {"status": _STATUS[status(found)], "reason": found.reason},
        "oracle": _oracle(plane, plane.catalogue.models[found.model_id]),
        "instance_type": {"name": instance_type(found).name},
    }


async def listed_instances(plane: Plane, visit: Visit, arguments: Arguments) -> Any:
    return [
        {
            "id": each.id,
            "name": each.name,
            "display_name": each.name,
            "millicpu_limit": each.millicpu_limit,
            # Bytes: the client compares it with bytes.
            "memory_limit": each.memory_limit_mib * MIB,
            "gpu_count": each.gpu_count,
            "default": each.name == DEFAULT_TYPE.name,
            "node_count": 1,
        }
        for each in offered(plane.views.fleet.state)
    ]


async def truss_validation(plane: Plane, visit: Visit, arguments: Arguments) -> Any:
    config = _base64(arguments, "config")
    found = await pushes.findings(plane, config)
    warnings = [*found.warnings, *pushes.said_aloud(plane, config)]
    details = {"errors": [str(each) for each in found.errors], "warnings": warnings}
    return {"success": not found.errors, "details": msgspec.json.encode(details).decode()}


async def model_s3_upload_credentials(plane: Plane, visit: Visit, arguments: Arguments) -> Any:
    issued = msgspec.structs.asdict(plane.uploads.issue())
    return issued | {"endpoint_url": f"{plane.public_url}/s3", "region_name": REGION}


async def create_model_from_truss(plane: Plane, visit: Visit, arguments: Arguments) -> Any:
    _check_team(arguments)
    wanted = _push(arguments, str(arguments.get("name", "")), deployment_name=arguments.get("version_name"))
    return await _pushed(plane, visit, wanted, arguments)


async def create_model_version_from_truss(plane: Plane, visit: Visit, arguments: Arguments) -> Any:
    name = find.model(plane, str(arguments.get("model_id", ""))).name
    wanted = _push(
        arguments,
        name,
        deployment_name=arguments.get("name"),
        scale_down_previous=arguments.get("scale_down_old_production", True),
    )
    return await _pushed(plane, visit, wanted, arguments)


async def deploy_draft_truss(plane: Plane, visit: Visit, arguments: Arguments) -> Any:
    _check_team(arguments)
    wanted = _push(arguments, str(arguments.get("name", "")), is_development=True)
    return await _pushed(plane, visit, wanted, arguments)


def _check_team(arguments: Arguments) -> None:
    team = arguments.get("team_id")
    if team not in (None, TEAM_ID):
        raise not_found(f"there is no team {team!r}; there is {TEAM_ID}", "team_id")


def _push(arguments: Arguments, name: str, **more: Any) -> pushes.Push:
    if arguments.get("model_origin") not in (None, "BASETEN"):
        raise ApiError(501, "truss chains is not there yet in this version of Causeway", code="not_implemented")
    if arguments.get("allow_truss_download") is False:
        pushes.refuse_no_download("--disable-truss-download")
    minutes = arguments.get("deploy_timeout_minutes")
    return pushes.Push(
        model_name=name,
        config=_base64(arguments, "config"),
        raw_config=_base64(arguments, "raw_config") if arguments.get("raw_config") else None,
        environment=arguments.get("environment_name"),
        preserve_env_instance_type=arguments.get("preserve_env_instance_type") is not False,
        deploy_timeout_minutes=None if minutes is None else int(minutes),
        labels=_object(arguments, "user_deploy_metadata"),
        client=_object(arguments, "truss_user_env"),
        **more,
    )


async def _pushed(plane: Plane, visit: Visit, wanted: pushes.Push, arguments: Arguments) -> Any:
    deployment = await pushes.push(plane, visit, wanted, str(arguments.get("s3_key", "")))
    return {"model_version": _version(plane, deployment)}


def _base64(arguments: Arguments, name: str) -> bytes:
    try:
        return b64decode(str(arguments.get(name, "")), validate=True)
    except (NotBase64, ValueError) as error:
        raise invalid(f"{name} is not base64 ({error})", name) from error


def _object(arguments: Arguments, name: str) -> dict[str, Any] | None:
    text = arguments.get(name)
    if text is None:
        return None
    try:
        return msgspec.json.decode(str(text), type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise invalid(f"{name} is not a JSON object in a string ({error})", name) from error


FIELDS: Mapping[str, Resolver] = MappingProxyType(
    {
        each.__name__: each
        for each in (
            organization, user, teams, models, model, model_version, listed_instances, truss_validation,
            model_s3_upload_credentials, create_model_from_truss, create_model_version_from_truss, deploy_draft_truss,
            graphql_watch.truss_watch_state, graphql_watch.stage_patch_for_draft_truss, graphql_watch.sync_draft_truss,
        )
    }
)  # fmt: skip
