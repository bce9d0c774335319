"""From a host and a path to what is meant: which model, which of its deployments, which verb. Pure.

Two forms name the model: the host `model-<id>.<domain>` (or `model-<id>-<environment>.<domain>`), and the first path
segment `/model-<id>/` on the one origin. What follows is the same in both: a prefix that picks the deployment
(none means production), then a verb. A host of the operator's own may stand for one environment, too.

With `/openai/v1/…` or the host `openai.<domain>` the request's body names the model, and so it does in the paths of
OpenAI's and Anthropic's clients at the origin's root. `GET /v1/models` there is the control API's, so the list for
such clients is at `/openai/v1/models`. What names no model is not the data plane's and is left to the control plane.
"""

import re
from typing import Literal
from urllib.parse import unquote

import msgspec

from events.base import ModelId
from gateway.errors import Problem, client_error, not_found
from projections.routing import PRODUCTION

Verb = Literal["predict", "sync", "openai", "websocket", "wake"]
By = Literal["environment", "development", "deployment"]

OPENAI_PATHS = frozenset(
    ("chat/completions", "completions", "embeddings", "responses", "messages", "models"),
)
NAMED_IN_BODY = OPENAI_PATHS - {"models"}
OPENAI_PREFIX = "/openai/v1/"
NOT_YET = frozenset(("async_predict", "async_queue_status", "async_request", "run_remote", "async_run_remote"))
PREDICT_PATH = "/v1/models/model:predict"
WEBSOCKET_PATH = "/v1/websocket"
HELP = (
    "write [/production | /development | /environments/<name> | /deployment/<id>] and then /predict, "
    "/sync/<path>, /websocket, /wake or /v1/chat/completions and its kin"
)

_MODEL_ID = re.compile(r"[a-z0-9]+")


class Target(msgspec.Struct, frozen=True, cache_hash=True):
    """Which deployment of the model: by the name of an environment, the development slot, or by its id."""

    model_id: ModelId
    by: By
    name: str

    def __str__(self) -> str:
        return f"{self.by} {self.name}".strip()


UNNAMED = Target(ModelId(""), "environment", "")
"""What a request means until its body has named it."""


class Address(msgspec.Struct, frozen=True):
    target: Target
    verb: Verb
    upstream: str
    """Path and query on the model server."""


class Unnamed(msgspec.Struct, frozen=True):
    """The field `model` of the body says which model is meant."""

    upstream: str


class Catalogue(msgspec.Struct, frozen=True):
    """What may be called, asked for in OpenAI's way: all of it, or one by name."""

    name: str


def parse(method: str, host: str, target: str, domain: str) -> Address | Unnamed | Catalogue | Problem | None:
    """None: not the data plane's. `host` may carry a port; `target` is the path with its query."""
    path, mark, query = target.partition("?")
    label = _model_label(host, domain)
    if label is not None:
        model_id, _, environment = label.partition("-")
        rest = path
    elif path.startswith("/model-"):
        model_id, slash, rest = path[len("/model-") :].partition("/")
        environment, rest = "", slash + rest
    elif path.startswith(("/v1/", OPENAI_PREFIX)) or host[:7].lower() == "openai.":
        return _openai(method, host, path, mark + query, domain)
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


def for_target(method: str, aim: Target, target: str) -> Address | Problem:
    """On a host that stands for one target."""
    path, mark, query = target.partition("?")
    return _verb(method, aim, path, mark + query)


def host_name(host: str) -> str:
    """Without its port, in small letters."""
    name = host.rpartition(":")[0] if host[-1:].isdigit() and ":" in host else host
    return name.lower().rstrip(".")


def _openai(method: str, host: str, path: str, query: str, domain: str) -> Unnamed | Catalogue | Problem | None:
    own = host_name(host) == f"openai.{domain}"
    if path.startswith(OPENAI_PREFIX):
        own, verb = True, path[len(OPENAI_PREFIX) :]
    elif path.startswith("/v1/"):
        verb = path[len("/v1/") :]
    else:
        return not_found(f"this host serves OpenAI's paths only, {path!r} is none: call /v1/…") if own else None
    if verb in NAMED_IN_BODY:
        if method == "POST":
            return Unnamed(f"/v1/{verb}{query}")
        return client_error(405, f"/v1/{verb} takes POST, not {method}", ("allow", "POST"))
    if not own:
        return None
    first, _, name = verb.partition("/")
    if first != "models":
        known = ", ".join(sorted(OPENAI_PATHS))
        return not_found(f"{path!r} is not served; there are {known}, or call /model-<id>/…")
    if method not in ("GET", "HEAD"):
        return client_error(405, f"/v1/models takes GET, not {method}", ("allow", "GET"))
    return Catalogue(unquote(name))


def is_sdk_path(target: str) -> bool:
    """Whether it is a client of OpenAI's or Anthropic's that asks, in whatever form the path names the model."""
    path = target.partition("?")[0]
    _, version, method = path.rpartition("/v1/")
    return path.startswith(OPENAI_PREFIX) or (version != "" and method in OPENAI_PATHS)


def _model_label(host: str, domain: str) -> str | None:
    """What follows `model-` in the host's first label, if the host is a model's."""
    if host[:6].lower() != "model-":
        return None
    label, dot, parent = host_name(host).partition(".")
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
