"""Differences between two states: none where there is none, complete where there are some, in one order."""

from copy import deepcopy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from projections.diff import apply, diff, part_of

values = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.text(max_size=2), max_size=2)
trees = st.recursive(values, lambda inner: st.dictionaries(st.text(max_size=3), inner, max_size=4), max_leaves=12)
states = st.dictionaries(st.text(max_size=3), trees, max_size=4)


@given(states)
def test_a_state_does_not_differ_from_itself(state: Any) -> None:
    assert diff(state, deepcopy(state)) == ()


@given(states, states)
def test_the_changes_applied_to_the_one_give_the_other(before: Any, after: Any) -> None:
    assert apply(before, diff(before, after)) == after


@given(states, states)
def test_there_and_back_are_the_same_paths_in_the_same_order(before: Any, after: Any) -> None:
    there, back = diff(before, after), diff(after, before)
    assert [change.path for change in there] == [change.path for change in back]
    assert there == tuple(sorted(there, key=lambda change: change.path))


def test_changes_read_as_lines() -> None:
    before = {"a": {"status": "BUILDING", "target": 0, "old": True}}
    after = {"a": {"status": "ACTIVE", "target": 0, "replica": {"id": "r1", "ready": False}}}
    assert [str(change) for change in diff(before, after)] == [
        "a.old: - yes",
        "a.replica: + {id: r1, ready: no}",
        "a.status: BUILDING -> ACTIVE",
    ]


def test_the_part_of_an_entity_is_what_is_under_its_id_or_names_it() -> None:
    state = {
        "replicas": {"r1": {"phase": "ready"}, "r2": {"phase": "started"}},
        "targets": {"n1": {"r1": {"deployment_id": "d1", "cpu": 1}, "r2": {"deployment_id": "d2"}}},
        "places": {"production": "d1"},
        "all": ["d1", "d2"],
        "unrelated": {"x": 1},
    }
    assert part_of(state, "r1") == {
        "replicas": {"r1": {"phase": "ready"}},
        "targets": {"n1": {"r1": {"deployment_id": "d1", "cpu": 1}}},
    }
    assert part_of(state, "d1") == {
        "targets": {"n1": {"r1": {"deployment_id": "d1", "cpu": 1}}},
        "places": {"production": "d1"},
        "all": ["d1"],
    }
    assert part_of(state, "nobody") is None
