"""Hypothesis strategies for every event type, made from the types themselves: a new event needs no line here."""

from datetime import UTC
from typing import Any, get_args

import hypothesis.strategies as st
import msgspec
from msgspec import inspect

from events.base import Metadata
from events.union import AnyEvent

KINDS: tuple[type[AnyEvent], ...] = get_args(AnyEvent)
_SIMPLE: dict[type[inspect.Type], st.SearchStrategy[Any]] = {
    inspect.StrType: st.text(max_size=20),
    inspect.IntType: st.integers(-(2**63), 2**63 - 1),
    inspect.FloatType: st.floats(allow_nan=False, allow_infinity=False),
    inspect.BoolType: st.booleans(),
    inspect.NoneType: st.none(),
    inspect.DateTimeType: st.datetimes(timezones=st.just(UTC)),
}


def values_of(kind: inspect.Type) -> st.SearchStrategy[Any]:
    if isinstance(kind, inspect.UnionType):
        return st.one_of(*(values_of(member) for member in kind.types))
    if isinstance(kind, inspect.LiteralType):
        return st.sampled_from(kind.values)
    if isinstance(kind, inspect.VarTupleType):
        return st.lists(values_of(kind.item_type), max_size=4).map(tuple)
    if isinstance(kind, inspect.StructType):
        return st.builds(kind.cls, **{field.name: values_of(field.type) for field in kind.fields})
    return _SIMPLE[type(kind)]


def instances(struct: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    return values_of(inspect.type_info(struct))


metas: st.SearchStrategy[Metadata] = instances(Metadata)
events: st.SearchStrategy[AnyEvent] = st.sampled_from(KINDS).flatmap(instances)
