"""The beginning of a body says which model is meant, however it is cut, and whatever else is in it."""

import json
import time
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from gateway.peek import Missing, prefix_of, text_of, value_at

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from(["model", "messages", "a", 'q"uote', "\\"]) | st.text(max_size=5), JSON)


@given(OBJECTS, st.sampled_from([None, 1]))
def test_it_reads_the_same_as_a_parser(body: dict[str, Any], indent: int | None) -> None:
    raw = json.dumps(body, indent=indent).encode()
    found = text_of(raw, b"model")
    if "model" not in body:
        assert found in (Missing.NOT_THERE, Missing.YET)
        assert body == {} or found is Missing.NOT_THERE
    elif isinstance(body["model"], str):
        # A lone surrogate has no UTF-8.
        assert found == body["model"] or (found is None and not body["model"].isprintable())
    else:
        assert found is None


@given(OBJECTS, st.text(alphabet=st.characters(codec="utf-8"), max_size=20), st.integers(0, 400))
def test_a_body_that_is_cut_never_gives_a_wrong_name(body: dict[str, Any], name: str, at: int) -> None:
    raw = msgspec.json.encode({**{k: v for k, v in body.items() if k != "model"}, "model": name})
    found = text_of(raw[:at], b"model")
    assert found in (name, Missing.YET)
    assert text_of(raw, b"model") == name


@given(st.binary(max_size=60))
def test_garbage_is_not_found_and_harms_nobody(raw: bytes) -> None:
    text_of(raw, b"model")
    prefix_of(raw, frozenset((b"messages",)), 5)
    text_of(b'{"model"' + raw, b"model")


def test_a_string_that_is_cut_is_not_taken_for_structure() -> None:
    inside = json.dumps({"a": {"b": '{"model":"evil"}, "model":"evil"'}}).encode()
    for at in range(len(inside)):
        assert text_of(b'{"x":' + inside[:at], b"model") is Missing.YET
    started = time.perf_counter()
    text_of(b'{"a":["' + b'\\"' * 32_000, b"model")
    text_of(b'{"a":[' + b"[" * 64_000, b"model")
    assert time.perf_counter() - started < 5.0, "linear, however hostile"


def test_only_the_outermost_object_counts_and_the_first_of_a_name() -> None:
    assert text_of(b'{"a":{"model":"inner"},"model":"outer"}', b"model") == "outer"
    assert text_of(b'{"a":"model","b":["model"],"model" : "x"}', b"model") == "x"
    assert text_of(b'{"model":"one","model":"two"}', b"model") == "one"
    assert text_of(b'[{"model":"x"}]', b"model") is Missing.NOT_THERE
    assert text_of(b'{"model": 7}', b"model") is None
    assert text_of(b'{"a": "mod', b"model") is Missing.YET


def test_the_prefix_is_the_first_bytes_of_the_prompt() -> None:
    body = b'{"model":"m","messages":[{"role":"system","content":"You are"}]}'
    names = frozenset((b"messages", b"prompt"))
    assert prefix_of(body, names, 9) == b'[{"role":'
    assert prefix_of(body, names, 900) is Missing.YET
    assert prefix_of(b'{"prompt":"abc"}', names, 3) == b'"ab'
    assert prefix_of(b'{"other":1}', names, 3) is Missing.NOT_THERE
    assert value_at(b'{"prompt":"abc"}', names) == 10
