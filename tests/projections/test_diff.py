"""Differences between two states: none where there is none, complete where there are some, in one order."""

from copy import deepcopy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from projections.diff import apply, diff, diff_about, part_about

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
    assert part_about(state, "r1") == {
        "replicas": {"r1": {"phase": "ready"}},
        "targets": {"n1": {"r1": {"deployment_id": "d1", "cpu": 1}}},
    }
    assert part_about(state, "d1") == {
        "targets": {"n1": {"r1": {"deployment_id": "d1", "cpu": 1}}},
        "places": {"production": "d1"},
        "all": ["d1"],
    }
    assert part_about(state, "nobody") is None


def test_of_a_table_of_ids_only_the_lines_about_the_entity_are_its_part() -> None:
    assert part_about({"node_of": {"r1": "n1", "r2": "n2", "n1": "n3"}}, "n1") == {"node_of": {"r1": "n1", "n1": "n3"}}


def test_that_one_state_says_more_of_an_entity_is_no_change_of_what_it_says() -> None:
    """While it was current the whole record was about it; then only a branch."""
    before = {"places": {"p": {"current": "d1", "made": 1, "past": {"began": ["d1"]}}, "q": {"current": "d3"}}}
    after = {"places": {"p": {"current": "d2", "made": 1, "past": {"began": ["d1"]}}, "q": {"current": "d4"}}}
    assert [str(change) for change in diff_about(before, after, "d1")] == ["places.p.current: d1 -> d2"]
    assert [str(change) for change in diff_about(after, before, "d1")] == ["places.p.current: d2 -> d1"]
    assert [str(change) for change in diff_about(before, {"places": {}}, "d3")] == ["places.q: - {current: d3}"]
    assert diff_about(before, after, "nobody") == ()


@given(states, states)
def test_what_is_said_of_an_entity_differs_only_by_what_really_differs(before: Any, after: Any) -> None:
    named = (
        {"x": before.get("a", {}), "a": {"b": "e"}, "t": before},
        {"x": after.get("a", {}), "a": {"b": "f"}, "t": after},
    )
    really = diff(*named)
    for change in diff_about(*named, "e"):
        assert any(
            each == change
            or (each.path == change.path[: len(each.path)])
            or (change.path == each.path[: len(change.path)])
            for each in really
        )
