"""What was touched of a mapping, as it was and as it is, has the whole difference and nothing else."""

from copy import deepcopy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ops.watched import Watched
from projections.diff import diff

names = st.sampled_from("abc")
records = st.lists(st.integers(0, 3), max_size=2)
tables = st.dictionaries(names, records, max_size=3)
deeds = st.lists(st.tuples(st.sampled_from(["add", "put", "pop", "read", "table"]), names, names, records), max_size=8)


@given(st.dictionaries(names, records), deeds)
def test_of_a_table_of_records(values: dict[str, Any], done: list[tuple[str, str, str, list[int]]]) -> None:
    watched, before = Watched(values, deepcopy), deepcopy(values)
    for deed, name, _, record in done:
        do(watched, deed, name, list(record))
    assert_told(watched, before, values)


@given(st.dictionaries(names, tables), st.lists(deeds, max_size=3))
def test_of_a_table_of_tables(values: dict[str, Any], several: list[list[tuple[str, str, str, list[int]]]]) -> None:
    """One event after the other; within one, a table may be changed and then taken away or replaced."""
    watched = Watched(values, deepcopy)
    for done in several:
        before = deepcopy(values)
        for deed, name, inner, record in done:
            if deed == "table":
                watched[name] = {inner: list(record)}
            elif deed == "pop" and record:
                watched.pop(name, None)
            else:
                do(watched.setdefault(name, {}), deed, inner, list(record))
        assert_told(watched, before, values)


def do(table: Any, deed: str, name: str, record: list[int]) -> None:
    match deed:
        case "put":
            table[name] = record
        case "pop":
            table.pop(name, None)
        case "add" if name in table:
            table[name].append(9)
        case "read":
            assert [*table.values()] == [table[each] for each in table]


def assert_told(watched: Watched, before: dict[str, Any], after: dict[str, Any]) -> None:
    assert diff(*watched.taken()) == diff(before, after)
    assert watched.taken() == ({}, {})
