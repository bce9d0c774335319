"""From a host and a path to what is meant: which model, which of its deployments, which verb. Pure.

Two forms name the model: the host `model-<id>.<domain>` (or `model-<id>-<environment>.<domain>`), and the first path
segment `/model-<id>/` on the one origin. What follows is the same in both: a prefix that picks the deployment
(none means production), then a verb. What names no model is not the data plane's and is left to the control plane.
"""

import re
from typing import Literal

import msgspec

from events.base import ModelId
from gateway.errors import Problem, client_error, not_found
from projections.routing import PRODUCTION

Verb = Literal["predict", "sync", "openai", "websocket", "wake"]
By = Literal["environment", "development", "deployment"]

OPENAI_PATHS = frozenset(
    ("chat/completions", "completions", "embeddings", "responses", "messages", "models"),
)
NOT_YET = frozenset(("async_predict", "async_queue_status", "async_request", "run_remote", "async_run_remote"))
PREDICT_PATH = "/v1/models/model:predict"
WEBSOCKET_PATH = "/v1/websocket"
HELP = (
    "write [/production | /development | /environments/<name> | /deployment/<id>] and then /predict, "
    "/sync/<path>, /websocket, /wake or /v1/chat/completions and its kin"
)

_MODEL_ID = re.compile(r"[a-z0-9]+")


class Target(msgspec.Struct, frozen=True):
    """Which deployment of the model: by the name of an environment, the development slot, or by its id."""

    model_id: ModelId
    by: By
    name: str

    def __str__(self) -> str:
        return f"{self.by} {self.name}".strip()


class Address(msgspec.Struct, frozen=True):
    target: Target
    verb: Verb
    upstream: str
    """Path and query on the model server."""


def parse(method: str, host: str, target: str, domain: str) -> Address | Problem | None:
    """None: not the data plane's. `host` may carry a port; `target` is the path with its query."""
    path, mark, query = target.partition("?")
    label = _model_label(host, domain)
    if label is not None:
        model_id, _, environment = label.partition("-")
        rest = path
    elif path.startswith("/model-"):
        model_id, slash, rest = path[len("/model-") :].partition("/")
        environment, rest = "", slash + rest
    else:
        return None
    if not _MODEL_ID.fullmatch(model_id):
        return not_found(f"{model_id!r} cannot be a model id: ids have small letters and digits")
    where = _pick(ModelId(model_id), rest)
    if isinstance(where, Problem):
        return where
    aim, suffix = where
    if environment:
        if suffix != rest and aim != Target(aim.model_id, "environment", environment):
            return not_found(f"this host reaches the environment {environment!r} only: call it without a prefix")
        aim = Target(aim.model_id, "environment", environment)
    return _verb(method, aim, suffix, mark + query)


def _model_label(host: str, domain: str) -> str | None:
    """What follows `model-` in the host's first label, if the host is a model's."""
    if host[:6].lower() != "model-":
        return None
    name = host.rpartition(":")[0] if host[-1:].isdigit() and ":" in host else host
    label, dot, parent = name.lower().rstrip(".").partition(".")
    return label[len("model-") :] if dot and parent == domain else None


def _pick(model_id: ModelId, rest: str) -> tuple[Target, str] | Problem:
    """The prefix's target, and what is left of the path."""
    first, slash, after = rest[1:].partition("/")
    if first == "production":
        return Target(model_id, "environment", PRODUCTION), slash + after
    if first == "development":
        return Target(model_id, "development", ""), slash + after
    if first in ("environments", "deployment"):
        name, slash, after = after.partition("/")
        if not name:
            return not_found(f"/{first}/ needs a name after it: {HELP}")
        return Target(model_id, "environment" if first == "environments" else "deployment", name), slash + after
    return Target(model_id, "environment", PRODUCTION), rest


def _verb(method: str, target: Target, suffix: str, query: str) -> Address | Problem:
    first, _, after = suffix[1:].partition("/")
    match first:
        case "predict" if not after:
            return _post_only(method, Address(target, "predict", PREDICT_PATH + query))
        case "wake" if not after:
            return _post_only(method, Address(target, "wake", ""))
        case "sync":
            return Address(target, "sync", f"/{after}{query}")
        case "websocket" if not after:
            return Address(target, "websocket", WEBSOCKET_PATH + query)
        case "v1" if after in OPENAI_PATHS:
            return Address(target, "openai", f"/v1/{after}{query}")
        case _ if first in NOT_YET:
            return client_error(501, f"{first} is not served yet; call predict")
        case _:
            return not_found(f"{suffix or '/'!r} is nothing that a model answers: {HELP}")


def _post_only(method: str, address: Address) -> Address | Problem:
    if method == "POST":
        return address
    return client_error(405, f"{address.verb} takes POST, not {method}", ("allow", "POST"))
