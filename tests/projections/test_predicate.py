"""The expressions of bisect: they mean what they say, and reach nothing but the states."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.base import DeploymentId, ModelId
from projections.environments import Environment
from projections.predicate import CALLABLE, BadExpression, parse

PLACE = Environment(ModelId("m1"), "production", "2026-01-01", DeploymentId("d1"))
SCOPE: dict[str, Any] = {
    "place": PLACE,
    "places": {"production": PLACE, "staging": Environment(ModelId("m1"), "staging", "2026-01-01")},
    "counts": {"d1": 2, "d2": 0},
    "absent": None,
    "number": 7,
    "ready": lambda each: {"d1": 2}.get(each, 0),
}
NAMES = tuple(SCOPE)


def holds(text: str) -> bool:
    return parse(text, NAMES).holds(SCOPE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("place.current == 'd1'", True),
        ("places.staging.current is None", True),
        ("places['production'].limits.park_deadline_s is None", True),
        ("all(ready(each.current) > 0 for each in places.values() if each.current is not None)", True),
        ("all(ready(each.current) > 0 for each in places.values())", False),
        ("sum(counts.values()) == 2 and max(counts.values()) - 1 == 1", True),
        ("any(n == 0 and name.startswith('d2') for name, n in counts.items())", True),
        ("len({n % 2 for n in counts.values()}) == 1 and 0 < number <= 7", True),
        ("[n for n in counts.values() if n] == [2] or not number", True),
        ("absent.current.replicas is None and len(absent.replicas.values()) == 0", True),
        ("counts.get('d9') is None and 'd1' in counts and 'd9' not in counts", True),
        ("(1 if absent else 2) == 2 and -number < 0 and number // 2 == 3", True),
        ("sorted(counts) == ['d1', 'd2']", True),
        ("any(False for a in [1] for b in [a] if b == 2)", False),
    ],
)
def test_what_an_expression_means(text: str, expected: bool) -> None:
    assert holds(text) is expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("plase.current", "no name 'plase' here; did you mean place? there are abs, absent, all, any"),
        ("place.__class__", "no field begins with an underscore"),
        ("().__class__.__bases__", "no field begins with an underscore"),
        ("place.curent", "there is no 'curent' here; did you mean current? there are model_id, name, created_at"),
        ("__import__('os').system('true')", "cannot be called"),
        ("eval('1')", "eval() cannot be called so; there are .endswith, .get"),
        ("open('/etc/passwd')", "cannot be called"),
        ("counts.pop('d1')", "counts.pop() cannot be called"),
        ("counts.update({})", "cannot be called"),
        ("'{0.__class__}'.format(place)", "cannot be called"),
        ("(lambda: 1)()", "cannot be called"),
        ("lambda: 1", "Lambda cannot be written here"),
        ("f'{place}'", "cannot be written here"),
        ("2 ** 999999999", "cannot be written here"),
        ("1 << 99999999", "cannot be written here"),
        ("'a' * 10 ** 9", "cannot be written here"),
        ("'a' * 1000000000", "* and % are for numbers"),
        ("'%999999999d' % 1", "* and % are for numbers"),
        ("(number := 3)", "cannot be written here"),
        ("number = 3", "not an expression"),
        ("import os", "not an expression"),
        ("", "not an expression"),
        ("number +", "not an expression"),
        ("number < 'a'", "cannot be worked out"),
        ("1 / 0", "cannot be worked out"),
        ("counts['d9']", "cannot be worked out"),
        ("number()", "number is no function"),
        ("number.values()", "for mappings"),
        ("[x for x.y in counts]", "cannot take a value"),
        ("b'bytes'", "cannot be written here"),
        ("len(counts, key=1)", "cannot be called so"),
    ],
)
def test_what_it_cannot_say_is_refused_with_what_it_can(text: str, said: str) -> None:
    with pytest.raises(BadExpression) as refused:
        holds(text)
    assert said in str(refused.value)


def test_deep_nesting_is_refused() -> None:
    for text in ("(" * 500 + "1" + ")" * 500, "not " * 3000 + "1", "1" + "+1" * 20_000):
        with pytest.raises(BadExpression):
            holds(text)


@given(st.text(max_size=40))
def test_any_text_is_an_expression_or_is_refused(text: str) -> None:
    try:
        holds(text)
    except BadExpression as refused:
        assert str(refused)


@given(st.recursive(
    st.sampled_from(["place", "counts", "number", "absent", "1", "'d1'", "None"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["current", "values()", "get('d1')", "name"])).map(".".join),
        st.tuples(inner, st.sampled_from([" == ", " in ", " + ", " and ", " or "]), inner).map("".join),
        inner.map(lambda each: f"len({each})"),
        inner.map(lambda each: f"[x for x in {each}]"),
    ),
    max_leaves=6,
))  # fmt: skip
def test_what_can_be_read_gives_an_answer_or_says_why_not(text: str) -> None:
    before = repr(SCOPE)
    try:
        holds(text)
    except BadExpression as refused:
        assert str(refused)
    assert repr(SCOPE) == before
    assert ".values" in CALLABLE
