"""The union holds every event there is, and each has the shape of a fact."""

import importlib
import pkgutil
import re
from typing import Any

import pytest
from msgspec import inspect

import events
from events.base import Event
from events.union import AnyEvent
from tests.events.strategies import KINDS

for _module in pkgutil.iter_modules(events.__path__):
    importlib.import_module(f"events.{_module.name}")

PLAIN = (
    inspect.StrType,
    inspect.IntType,
    inspect.FloatType,
    inspect.BoolType,
    inspect.NoneType,
    inspect.LiteralType,
    inspect.DateTimeType,
)


def test_every_event_class_is_in_the_union() -> None:
    missing = [kind.__name__ for kind in Event.__subclasses__() if kind not in KINDS]
    assert missing == [], f"add to AnyEvent in events/union.py: {missing}"


def test_no_two_events_have_the_same_name() -> None:
    tags = [str(kind.__struct_config__.tag) for kind in KINDS]
    assert len(tags) == len(set(tags))


def _is_value(kind: inspect.Type) -> bool:
    if isinstance(kind, inspect.UnionType):
        return all(_is_value(member) for member in kind.types)
    if isinstance(kind, inspect.VarTupleType):
        return _is_value(kind.item_type)
    if isinstance(kind, inspect.StructType):
        frozen: Any = kind.cls.__struct_config__.frozen
        return bool(frozen) and all(_is_value(field.type) for field in kind.fields)
    return isinstance(kind, PLAIN)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_event_holds_values_only(kind: type[AnyEvent]) -> None:
    shape = inspect.type_info(kind)
    assert isinstance(shape, inspect.StructType)
    for field in shape.fields:
        assert _is_value(field.type), f"{kind.__name__}.{field.name}: only strings, numbers, tuples, frozen Structs"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_event_is_named_in_camel_case_with_its_version_in_the_tag(kind: type[AnyEvent]) -> None:
    assert re.fullmatch(rf"{kind.__name__}(\.v[2-9]\d*)?", str(kind.__struct_config__.tag))
    assert re.fullmatch(r"([A-Z][a-z]+)+", kind.__name__)
