"""Sizes: told where they grow past the guide, failed only past the hard line. Split by meaning, not by count."""

import ast

from tests.architecture.tree import ROOTS, sources

FUNCTION_GUIDE, FUNCTION_HARD = 40, 70
FILE_GUIDE, FILE_HARD, TEST_FILE_HARD = 300, 600, 800


def test_functions_stay_short() -> None:
    lengths = {
        f"{source.name}:{node.lineno} {node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for source in sources(*ROOTS, "tests")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    tell("functions", lengths, FUNCTION_GUIDE)
    assert {name: lines for name, lines in lengths.items() if lines > FUNCTION_HARD} == {}


def test_files_hold_one_idea() -> None:
    lengths = {source.name: source.text.count("\n") for source in sources(*ROOTS, "tests")}
    tell("files", lengths, FILE_GUIDE)
    hard = {name: TEST_FILE_HARD if name.startswith("tests/") else FILE_HARD for name in lengths}
    assert {name: lines for name, lines in lengths.items() if lines > hard[name]} == {}


def tell(what: str, lengths: dict[str, int], guide: int) -> None:
    """`make sizes` shows this; it fails nothing."""
    for name, lines in sorted(lengths.items(), key=lambda item: -item[1]):
        if lines > guide:
            print(f"{what} over {guide} lines: {lines:4} {name}")
