"""Pure modules are pure: no clock, no chance, no IO, no state of their own (tests/architecture/purity.py)."""

import ast

import pytest

from tests.architecture.purity import breaches, is_pure
from tests.architecture.tree import Source, sources

PURE_SOURCES = [source for source in sources() if is_pure(source.name)]


@pytest.mark.parametrize("source", PURE_SOURCES, ids=lambda source: source.name)
def test_a_pure_module_only_turns_values_into_values(source: Source) -> None:
    assert list(breaches(source.tree)) == []


def test_the_promise_covers_folds_but_not_the_loop_that_feeds_them() -> None:
    assert is_pure("events/model.py") and is_pure("projections/routing.py") and is_pure("agents/reconcile.py")
    assert not is_pure("projections/follow.py") and not is_pure("events/log/memory.py")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("async def decide(): ...", "async"),
        ("from datetime import UTC, datetime\ndef f():\n  return datetime.now(UTC)", "clock"),
        ("import uuid", "imports uuid"),
        ("from os.path import join", "imports os.path"),
        ("def f(p):\n  return open(p)", "calls open()"),
        ("seen = set()", "mutable at module level"),
        ("SEEN: dict[str, int] = {}", "mutable at module level"),
        ("def f(xs):\n  return [x for x in set(xs)]", "iterates over a set"),
        ("def f():\n  global n", "global n"),
    ],
)
def test_each_breach_is_seen(text: str, complaint: str) -> None:
    (found,) = breaches(ast.parse(text))
    assert complaint in found


@pytest.mark.parametrize(
    "text",
    [
        "from collections.abc import Mapping\nTABLE: Mapping[str, int] = {'a': 1}",
        "NAMES = ('a', 'b')\nKNOWN = frozenset(NAMES)\n__all__ = ['NAMES']",
        "from datetime import datetime\ndef f(now: datetime) -> datetime:\n  return now",
        "def f(xs: set[int]):\n  return [x for x in sorted(set(xs))]",
    ],
)
def test_what_is_allowed_passes(text: str) -> None:
    assert list(breaches(ast.parse(text))) == []
