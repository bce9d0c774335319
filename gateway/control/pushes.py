"""A push, whichever way it came in: checked whole before anything is written, and the same upload pushed only once.

The command's id derives from the model and the upload, so a client that repeats a push whose answer it never got finds
the deployment that the first one made.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, NoReturn

import msgspec

from events.base import DeploymentId, ModelId, derive
from events.scaling import AutoscalingSettings
from gateway.control.archives import check_archive
from gateway.control.config_check import Fault, Findings
from gateway.control.errors import ApiError, invalid, not_found
from gateway.control.plane import TEAM_ID, Plane, Visit
from gateway.control.resources import Resources, resources_of
from gateway.control.uploads import NoUpload
from handlers.deciders.access import SECRET_NAME
from handlers.deciders.model import PushDeployment, model_id_of
from projections.deployments import Deployment
from projections.environments import PRODUCTION

NAME_MAX = 200
RAW_CONFIG_MAX_BYTES = 1 << 20
TIMEOUT_MINUTES = (10, 1440)
DEPLOY_TIMEOUT_S = 3600


class Push(msgspec.Struct, frozen=True, kw_only=True):
    model_name: str
    config: bytes
    """The full truss config, a JSON object."""
    raw_config: bytes | None = None
    deployment_name: str | None = None
    environment: str | None = None
    is_development: bool = False
    scale_down_previous: bool = True
    preserve_env_instance_type: bool = True
    """Of a push to an environment: the size of what is current there counts, not the config's."""
    deploy_timeout_minutes: int | None = None
    labels: Mapping[str, Any] | None = None
    client: Mapping[str, Any] | None = None

    @property
    def model_id(self) -> ModelId:
        return model_id_of(TEAM_ID, self.model_name)


async def findings(plane: Plane, config: bytes) -> Findings:
    """All that is wrong with a config, and all that is odd about it."""
    parsed = parsed_config(config)
    found = await plane.config_check(config)
    found = Findings((*found.errors, *await asyncio.to_thread(_secrets_missing, plane, parsed)), found.warnings)
    if any(fault.field.startswith("resources") for fault in found.errors):
        return found
    try:
        resources_of(parsed)
    except ApiError as error:
        problem = error.problem
        fault = Fault(problem.field or "resources", problem.message, problem.fix or "correct it")
        return Findings((*found.errors, fault), found.warnings)
    return found


def _secrets_missing(plane: Plane, config: Mapping[str, Any]) -> list[Fault]:
    """Of weights, whose build needs them at once. Reads files: for a thread."""
    faults = []
    for field, name in _secrets_named(config.get("weights")):
        if not SECRET_NAME.fullmatch(name):
            fix = "write one that `causeway secret list` shows: 1 to 128 letters, digits, _ and -"
            faults.append(Fault(field, f"{name!r} is no name of a secret", fix))
        elif plane.secrets.read(name) is None:
            faults.append(Fault(field, f"secret {name!r} is not set", f"run `causeway secret set {name}`, push again"))
    return faults


def _secrets_named(weights: object) -> list[tuple[str, str]]:
    """With the field of each. What has not the right shape is truss's to say."""
    places = []
    for index, entry in enumerate(weights if isinstance(weights, list) else ()):
        places += [(f"weights.{index}", entry)]
        if isinstance(entry, Mapping):
            places += [(f"weights.{index}.auth", entry.get("auth"))]
    named = [(place, at.get("auth_secret_name")) for place, at in places if isinstance(at, Mapping)]
    return [(f"{place}.auth_secret_name", name) for place, name in named if isinstance(name, str)]


def said_aloud(plane: Plane, config: bytes) -> tuple[str, ...]:
    """What will hold for the deployment without having been asked for; the client prints it with its push."""
    model = plane.catalogue.by_name(str(parsed_config(config).get("model_name", "")))
    place = plane.environments.of(model.model_id).get(PRODUCTION) if model is not None else None
    settings = (place.autoscaling if place is not None else None) or AutoscalingSettings()
    if settings.max_replica > 1:
        return ()
    return (
        "max_replica is 1: there will be one replica at most, however many requests wait. Raise it with"
        " `causeway scale MODEL/DEPLOYMENT --set max_replica=N`, or PATCH …/autoscaling_settings",
    )


def parsed_config(config: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(config, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise invalid(f"config is not a JSON object ({error})", "config") from error


async def check(plane: Plane, push: Push) -> None:
    """Raises ApiError for what would be refused later anyway."""
    _check_name(push.model_name)
    low, high = TIMEOUT_MINUTES
    if push.deploy_timeout_minutes is not None and not low <= push.deploy_timeout_minutes <= high:
        message = f"deploy_timeout_minutes must be from {low} to {high}, not {push.deploy_timeout_minutes}"
        raise invalid(message, "deploy_timeout_minutes")
    if push.raw_config is not None and len(push.raw_config) > RAW_CONFIG_MAX_BYTES:
        raise invalid(f"raw_config is larger than {RAW_CONFIG_MAX_BYTES} bytes", "raw_config")
    if push.environment is not None:
        _check_environment(plane, push.model_id, push.model_name, push.environment)
    found = await findings(plane, push.config)
    if found.errors:
        first = found.errors[0]
        raise invalid("; ".join(map(str, found.errors)), first.field, first.fix)


def refuse_no_download(option: str) -> NoReturn:
    """Rather than promise what nothing here keeps."""
    raise invalid(f"{option} is not there yet: whoever has a manage key may download what was pushed", option)


def _check_name(name: str) -> None:
    if not name.strip():
        raise invalid("the model has no name", "model_name", "set model_name in config.yaml, or use --model-name")
    if len(name) > NAME_MAX or not name.isprintable() or '"' in name or "\\" in name:
        message = f"the model name {name[:NAME_MAX]!r} cannot be used: no quotes, backslashes or line breaks"
        raise invalid(message, "model_name", f"choose a name of at most {NAME_MAX} printable characters")


def _check_environment(plane: Plane, model_id: ModelId, name: str, environment: str) -> None:
    existing = sorted(plane.environments.of(model_id)) or [PRODUCTION]
    if environment not in existing:
        message = f"the model {name!r} has no environment {environment!r}; it has {', '.join(existing)}"
        fix = f"push to one of these, or create it: POST /v1/models/{model_id}/environments"
        raise not_found(f"{message}. {fix[0].upper()}{fix[1:]}", "environment_name", fix)


def _ids(model_id: ModelId, s3_key: str) -> tuple[str, DeploymentId]:
    command_id = derive("push", model_id, s3_key, length=24)
    return command_id, DeploymentId(derive("deployment", command_id))


def is_repeated(plane: Plane, model_id: ModelId, s3_key: str) -> bool:
    """This upload has been pushed to this model before."""
    return _ids(model_id, s3_key)[1] in plane.catalogue.deployments


async def push(plane: Plane, visit: Visit, wanted: Push, s3_key: str) -> Deployment:
    command_id, deployment_id = _ids(wanted.model_id, s3_key)
    known = plane.catalogue.deployments.get(deployment_id)
    if known is not None:
        return known
    await check(plane, wanted)
    try:
        source = await plane.uploads.take(s3_key, plane.blobs, check_archive)
    except NoUpload as error:
        raise not_found(str(error), "s3_key") from error
    config = parsed_config(wanted.config)
    resources = _kept_resources(plane, wanted) or resources_of(config)
    timeout = wanted.deploy_timeout_minutes
    await visit.do(
        PushDeployment,
        once=command_id,
        model_id=wanted.model_id,
        model_name=wanted.model_name,
        team=TEAM_ID,
        name=wanted.deployment_name,
        is_development=wanted.is_development,
        source=source,
        config=await plane.blobs.put(wanted.config),
        raw_config=None if wanted.raw_config is None else await plane.blobs.put(wanted.raw_config),
        environment=wanted.environment,
        scale_down_previous=wanted.scale_down_previous,
        cpu_millicores=resources.cpu_millicores,
        memory_bytes=resources.memory_bytes,
        predict_concurrency=_predict_concurrency(config),
        deploy_timeout_s=DEPLOY_TIMEOUT_S if timeout is None else timeout * 60,
        labels=msgspec.json.encode(wanted.labels or {}).decode(),
        client=msgspec.json.encode(wanted.client or {}).decode(),
    )
    pushed = plane.catalogue.deployments.get(deployment_id)
    if pushed is None:
        raise ApiError(409, "this upload was pushed before and deleted since: upload it again", code="conflict")
    return pushed


def _kept_resources(plane: Plane, wanted: Push) -> Resources | None:
    if wanted.environment is None or not wanted.preserve_env_instance_type:
        return None
    place = plane.environments.of(wanted.model_id).get(wanted.environment)
    current = plane.catalogue.deployments.get(place.current) if place is not None and place.current else None
    return Resources(current.cpu_millicores, current.memory_bytes) if current is not None else None


def _predict_concurrency(config: Mapping[str, Any]) -> int:
    runtime = config.get("runtime")
    given = runtime.get("predict_concurrency") if isinstance(runtime, Mapping) else None
    return given if isinstance(given, int) and given > 0 else 1
