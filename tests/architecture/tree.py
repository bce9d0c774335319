"""The project's own source files, parsed once, for the tests that read them."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
ROOTS = ("events", "projections", "handlers", "gateway", "agents", "ops")


@dataclass(frozen=True)
class Source:
    """One Python file of ours."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.relative_to(CHECKOUT).as_posix()

    @property
    def text(self) -> str:
        return self.path.read_text()

    @property
    def tree(self) -> ast.Module:
        return parsed(self.path)


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def sources(*roots: str) -> Iterator[Source]:
    """Every Python file under the roots (ours by default), in a fixed order."""
    for root in roots or ROOTS:
        for path in sorted((CHECKOUT / root).rglob("*.py")):
            if "__pycache__" not in path.parts:
                yield Source(path)
