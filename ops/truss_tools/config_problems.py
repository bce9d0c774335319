"""Says everything that is wrong with a truss config at once, each problem with its field and its fix.

The rules are truss's own (`TrussConfig`, unknown keys refused as the client refuses them) plus two of ours:
what this version of the plane cannot serve is refused before anything is built, and no path may leave the
project. Executed inside `.venv-truss`.
"""

import copy
import difflib
import importlib.util
import json
import logging
import re
import sys
import types
import warnings
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any, NamedTuple, TypedDict

from weights_config import weights_problems  # type: ignore[import-not-found]


def import_truss_lightly() -> None:
    """Loads `truss.base.*` without `truss/__init__`, which would import the whole client: 0.3 s, not 2 s."""
    if "truss" in sys.modules:
        return
    spec = importlib.util.find_spec("truss")
    assert spec is not None and spec.submodule_search_locations is not None
    package = types.ModuleType("truss")
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules["truss"] = package


class Problem(TypedDict):
    field: str
    message: str
    fix: str


class Findings(NamedTuple):
    errors: list[Problem]
    warnings: list[str]


class BadConfig(Exception):
    def __init__(self, *problems: Problem) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{each['field']}: {each['message']}" for each in problems))


PATHS = ("data_dir", "model_module_dir", "bundled_packages_dir", "requirements_file", "model_class_filename")
FIXES = {
    "python_version": "write one of py39, py310, py311, py312, py313, py314, or leave it out",
    "requirements": "write a list of requirement lines, such as `- numpy==2.3.5`",
    "resources.cpu": "write a number of cores such as '2', or millicores such as '500m'",
    "resources.memory": "write a size such as '2Gi' or '512Mi'",
    "resources.accelerator": "write NAME or NAME:COUNT, such as L4 or H100:2",
}
KINDS = {
    "missing": "add it",
    "list_type": "write a list",
    "dict_type": "write a mapping of names to values",
    "model_type": "write a mapping of names to values",
    "string_type": "write a string",
    "int_type": "write a whole number",
    "int_parsing": "write a whole number",
    "bool_parsing": "write true or false",
}
EXTRA = re.compile(r"Extra fields not allowed: \[(.*?)\]")


def read_config(text: str) -> dict[str, Any]:
    """Parses config.yaml, or the JSON dump of it that a push sends."""
    import_truss_lightly()
    import yaml
    from truss.util.yaml_utils import safe_load_yaml_with_no_duplicates  # type: ignore[import-not-found]

    try:
        raw = json.loads(text) if text.lstrip().startswith("{") else safe_load_yaml_with_no_duplicates(text)
    except (ValueError, yaml.YAMLError) as error:
        at = re.search(r"line \d+(, column \d+)?", str(error))
        raise BadConfig(
            Problem(
                field="config.yaml",
                message=f"cannot be parsed: {getattr(error, 'problem', None) or error}",
                fix=f"mend the syntax at {at[0]}" if at else "mend the syntax",
            )
        ) from error
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise BadConfig(
            Problem(
                field="config.yaml",
                message=f"must be a mapping of field names to values, not a {type(raw).__name__}",
                fix="write one `field: value` a line",
            )
        )
    return raw


def findings(text: str) -> Findings:
    """Every problem of a config and every warning; no errors means that `TrussConfig` accepts it."""
    import_truss_lightly()
    heard = _Ear()
    logging.getLogger("truss").addHandler(heard)
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            raw = read_config(text)
            unsupported, rest = _refuse_unsupported(raw)
            errors = [
                *unsupported,
                *_refuse_flag_in_file(text, raw),
                *_refuse_env_shape(rest),
                *_schema_problems(rest),
                *_paths_outside(rest),
                *_addresses_unknown(rest),
                *(Problem(field=field, message=message, fix=fix) for field, message, fix in weights_problems(rest)),
            ]
    except BadConfig as bad:
        return Findings(list(bad.problems), [])
    finally:
        logging.getLogger("truss").removeHandler(heard)
    said = [*heard.said, *(str(each.message) for each in warned), *_without_effect(raw)]
    return Findings(errors, list(dict.fromkeys(said)))


class _Ear(logging.Handler):
    """Collects what truss would only have printed."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def _says_something(value: Any) -> bool:
    """A dump spells out every default; only a value that asks for something is a request."""
    if isinstance(value, dict):
        return any(_says_something(each) for each in value.values())
    return bool(value)


MODEL_CLASS = "leave it out and serve the model by a Model class in model/model.py"
UNSUPPORTED: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "base_image": ("leave it out and name what the model needs in `requirements`", _says_something),
    "docker_server": (MODEL_CLASS, _says_something),
    "trt_llm": (MODEL_CLASS, _says_something),
    "bis_llm": (MODEL_CLASS, _says_something),
    "bdn": ("leave it out and name the source under `weights`", _says_something),
    "training_checkpoints": ("leave it out and put the checkpoint into data/", _says_something),
    "runtime.egress_restrictions": ("leave it out: nothing here would enforce it", lambda it: it is not None),
    "runtime.transport": (
        "write `kind: http` or `kind: websocket`",
        lambda it: isinstance(it, dict) and it.get("kind") == "grpc",
    ),
    "resources.fabric": ("leave it out", _says_something),
    "resources.node_count": ("leave it out", lambda it: isinstance(it, int) and it > 1),
}


def _refuse_unsupported(raw: dict[str, Any]) -> tuple[list[Problem], dict[str, Any]]:
    rest = copy.deepcopy(raw)
    found: list[Problem] = []
    for field, (fix, asks) in UNSUPPORTED.items():
        *parents, name = field.split(".")
        holder: Any = rest
        for parent in parents:
            holder = holder.get(parent) if isinstance(holder, dict) else None
        if isinstance(holder, dict) and asks(holder.get(name)):
            del holder[name]
            found.append(Problem(field=field, message="is not supported by this version of Causeway", fix=fix))
    return found, rest


def _refuse_env_shape(raw: dict[str, Any]) -> list[Problem]:
    """truss itself breaks on this one before it can say so."""
    if isinstance(raw.get("environment_variables", {}), dict):
        return []
    raw.pop("environment_variables")
    return [Problem(field="environment_variables", message="is not a mapping", fix=KINDS["dict_type"])]


def _refuse_flag_in_file(text: str, raw: dict[str, Any]) -> list[Problem]:
    """The dump that a push sends may say so; the file itself may not."""
    build = raw.get("build")
    if text.lstrip().startswith("{") or not isinstance(build, dict) or build.get("no_cache") is not True:
        return []
    return [Problem(field="build.no_cache", message="cannot be set in the file", fix="push with --no-cache")]


def _schema_problems(raw: dict[str, Any]) -> list[Problem]:
    import pydantic
    from truss.base.truss_config import TrussConfig  # type: ignore[import-not-found]

    unknown: list[Problem] = []
    rest = copy.deepcopy(raw)
    rest["environment_variables"] = {k: str(v) for k, v in rest.get("environment_variables", {}).items()}
    while True:
        try:
            TrussConfig.model_validate(copy.deepcopy(rest), context={"forbid_extra": True})
            TrussConfig.from_dict(copy.deepcopy(raw))
            return unknown
        except pydantic.ValidationError as error:
            # An unknown key hides all else that is wrong in its section: take it out and look again.
            extras = [(each["loc"], match) for each in error.errors() if (match := EXTRA.search(each["msg"]))]
            if not extras:
                return unknown + [_explain(dict(each)) for each in error.errors()]
            for place, match in extras:
                unknown += _take_out(rest, place, match[1].split(", "))


def _take_out(raw: dict[str, Any], place: tuple[Any, ...], names: list[str]) -> list[Problem]:
    from truss.base.truss_config import TrussConfig

    holder: Any = raw
    for step in place:
        holder = holder[step]
    # At the top every field is known; deeper, the neighbours' descriptions name the likely ones.
    known = list(TrussConfig.model_fields) if not place else _fields_below(TrussConfig, place)
    found = []
    for name in names:
        del holder[name]
        near = difflib.get_close_matches(name, known, n=1)
        field = ".".join(map(str, (*place, name)))
        fix = f"write `{near[0]}`" if near else "remove it"
        found.append(Problem(field=field, message="is not a field of config.yaml", fix=fix))
    return found


def _fields_below(model: Any, place: tuple[Any, ...]) -> list[str]:
    schema = model.model_json_schema()
    here = schema
    for step in place:
        here = here.get("items", {}) if isinstance(step, int) else here.get("properties", {}).get(step, {})
        here = next((each for each in here.get("anyOf", [here]) if each.get("type") != "null"), here)
        if "$ref" in here:
            here = schema["$defs"][here["$ref"].rsplit("/", 1)[1]]
    return list(here.get("properties", {}))


def _explain(error: dict[str, Any]) -> Problem:
    field = ".".join(map(str, error["loc"])) or "config.yaml"
    message = error["msg"].removeprefix("Value error, ")
    if field == "config.yaml" and "requirements_file" in message:
        field, fix = "requirements", "keep `requirements` or `requirements_file`, not both"
    elif field == "python_version":
        message, fix = f"{error['input']!r} is not a version that truss supports", FIXES[field]
    else:
        fix = FIXES.get(field) or KINDS.get(error["type"]) or f"correct or remove `{field}`"
    return Problem(field=field, message=message, fix=fix)


def _paths_outside(raw: dict[str, Any]) -> list[Problem]:
    named = [(field, raw.get(field)) for field in PATHS]
    items = raw.get("external_data") or []
    if isinstance(items, list):
        named += [
            (f"external_data.{index}.local_data_path", item.get("local_data_path"))
            for index, item in enumerate(items)
            if isinstance(item, dict)
        ]
    return [
        Problem(
            field=field,
            message=f"{path!r} leaves the project",
            fix="write a relative path below the folder of config.yaml, without `..`",
        )
        for field, path in named
        if isinstance(path, str) and not _stays_inside(path)
    ]


def _addresses_unknown(raw: dict[str, Any]) -> list[Problem]:
    items = raw.get("external_data")
    return [
        Problem(
            field=f"external_data.{index}.url",
            message=f"{str(item.get('url')).partition('?')[0]!r} cannot be fetched",
            fix="write an address that begins with https:// or http://; buckets and hubs are for `weights`",
        )
        for index, item in enumerate(items if isinstance(items, list) else ())
        if isinstance(item, dict) and not str(item.get("url")).startswith(("https://", "http://"))
    ]


def _stays_inside(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return bool(parts) and not PurePosixPath(path).is_absolute() and ".." not in parts


def _without_effect(raw: dict[str, Any]) -> list[str]:
    runtime = raw.get("runtime") if isinstance(raw.get("runtime"), dict) else {}
    assert isinstance(runtime, dict)
    said = []
    if raw.get("system_packages"):
        said.append("system_packages: not installed by the builder; the nodes must have them already")
    for switch in ("oidc", "remote_ssh"):
        if _says_something(runtime.get(switch)):
            said.append(f"runtime.{switch}: has no effect in this version of Causeway")
    return said
