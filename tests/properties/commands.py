"""Commands of every kind by chance, over so few ids that they meet each other's histories."""

from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from hypothesis import strategies as some
from msgspec.structs import replace

from events.base import Actor, CommandId, CorrelationId, derive
from events.scaling import AutoscalingSettings
from handlers.base import Command, Decider

_FIRST = tuple(f"c{number}" for number in range(4))
"""Ids of the first commands of a list: what they make can be meant by the others."""
_POOLS: dict[str, tuple[Any, ...]] = {
    "model_id": ("m",),
    "model_name": ("iris", " "),
    "deployment_id": tuple(derive("deployment", each) for each in _FIRST),
    "build_id": ("b",),
    "replica_id": ("r",),
    "node_id": ("n",),
    "manifest_id": ("a" * 64, "b" * 64),
    "lack": ("room", "mirror"),
    "builder": ("one", "other"),
    "promotion_id": tuple(derive("promotion", each) for each in _FIRST),
    "key_id": ("k",),
    "webhook_id": ("w",),
    "url": ("https://a.example/x", "https://b.example", "no address"),
    "types": (("Replica*",), (), ("no type",)),
    "position": (1, 2),
    "environment": ("production", "staging", "no good"),
    "scopes": (("invoke",), ("manage",), ("root",), ()),
    "name": ("one", "no good", "two"),
    "boot_id": ("b1", "b2"),
    "labels": ("{}",),
    "client": ("{}",),
}
"""By field name: what matters is that they are the same now and then."""


def commands_of(decider: Decider[Any, Any]) -> some.SearchStrategy[list[Command]]:
    several = some.lists(some.one_of([command(kind) for kind in decider.commands]), max_size=25)
    return several.map(lambda asked: [replace(each, id=CommandId(f"c{n}")) for n, each in enumerate(asked)])


def command(kind: type[Command]) -> some.SearchStrategy[Command]:
    hints = get_type_hints(kind)
    identity: dict[str, some.SearchStrategy[Any]] = {
        "id": some.just(CommandId("")),
        "actor": some.just(Actor("operator", "test")),
        "correlation_id": some.just(CorrelationId("c")),
        "causation_id": some.none(),
    }
    rest = {name: _field(name, hints[name]) for name in kind.__struct_fields__ if name not in identity}
    return some.builds(kind, **identity, **rest)


def _field(name: str, hint: Any) -> some.SearchStrategy[Any]:
    if hint is AutoscalingSettings:
        return settings()
    if name in _POOLS:
        values: some.SearchStrategy[Any] = some.sampled_from(_POOLS[name])
        return values | some.none() if type(None) in get_args(hint) else values
    return _value(hint)


def settings() -> some.SearchStrategy[AutoscalingSettings]:
    return some.builds(
        AutoscalingSettings,
        min_replica=some.integers(-1, 3),
        max_replica=some.integers(0, 4),
        scale_down_delay_s=some.sampled_from((0, 5, 3600, 3601)),
    )


def _value(hint: Any) -> some.SearchStrategy[Any]:
    hint = getattr(hint, "__supertype__", hint)
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return some.sampled_from(inner)
    if origin in (Union, UnionType):
        return some.one_of([_value(each) for each in inner])
    if origin is tuple:
        return some.lists(_value(inner[0]), max_size=2).map(tuple)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        hints = get_type_hints(hint)
        return some.builds(hint, **{name: _field(name, hints[name]) for name in hint.__struct_fields__})
    plain: dict[Any, some.SearchStrategy[Any]] = {
        type(None): some.none(),
        bool: some.booleans(),
        int: some.integers(-1, 5),
        float: some.floats(0, 5000, allow_nan=False),
        str: some.sampled_from(("", "x", "1.5")),
    }
    return plain[hint]
