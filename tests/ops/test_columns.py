"""Tables on a terminal: names whole, text between words, and beneath the row what has no room beside it."""

from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from ops.columns import GAP, layout, print_table
from ops.render import console, table

COLUMNS = ("deployment", "id", "status", "replicas", "current in", "reason", "position")
ROWS = (
    ("iris/deployment-1", "5mdlfvvhlbmp", "SCALED_TO_ZERO", "0/0, max 1", "", "1 -> 0 replicas: replaced", "40"),
    (
        "iris/deployment-3",
        "2hdmx6sqauii",
        "BUILD_FAILED",
        "0/0, max 1",
        "",
        "build step resolve failed: " + "why " * 40,
        "8",
    ),
)


def printed(width: int) -> str:
    stream = StringIO()
    console = Console(file=stream, width=width, color_system=None, highlight=False, markup=False)
    print_table(console, COLUMNS, [[Text(each) for each in row] for row in ROWS])
    return stream.getvalue()


@pytest.mark.parametrize("width", [80, 100, 140, 400])
def test_names_are_whole_and_no_line_is_too_long(width: int) -> None:
    text = printed(width)
    assert all(len(line.rstrip()) <= width for line in text.splitlines())
    for row in ROWS:
        assert all(word in text for cell in row for word in cell.split())


def test_what_has_no_room_is_beneath_its_row() -> None:
    lines = [line.rstrip() for line in printed(80).splitlines()]
    assert "reason" not in lines[0] and "    reason  1 -> 0 replicas: replaced" in lines
    assert "reason" in printed(140).splitlines()[0]


@given(
    st.lists(st.lists(st.text("ab ", max_size=60), min_size=3, max_size=3), min_size=1, max_size=5),
    st.integers(min_value=1, max_value=120),
)
def test_every_column_has_its_place_and_all_fit(rows: list[list[str]], width: int) -> None:
    plan = layout(("one", "two", "three"), [[Text(each) for each in row] for row in rows], width)
    assert sorted((*plan.widths, *plan.beneath)) == [0, 1, 2] and 0 in plan.widths
    taken = sum(plan.widths.values()) + GAP * (len(plan.widths) - 1)
    assert (taken <= width or len(plan.widths) == 1) and all(each >= 1 for each in plan.widths.values())


def test_in_a_pipe_no_row_is_broken_however_long() -> None:
    stream = StringIO()
    table(console(stream), ("field", "value"), [["models", "a b " * 10_000], ["name", "iris"]], "nothing")
    head, first, second = stream.getvalue().splitlines()
    assert first.count("a b") == 10_000 and second.split() == ["name", "iris"] and head.split() == ["field", "value"]
