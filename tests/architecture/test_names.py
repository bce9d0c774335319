"""Names: our top-level packages are the ones in this tree, and words keep their meaning."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest

from tests.architecture.tree import CHECKOUT, ROOTS, Source, sources

FORBIDDEN_ENDINGS = ("Manager", "Service", "Helper", "Helpers", "Util", "Utils", "Processor", "Data", "Info")
FORBIDDEN_MODULES = ("util", "utils", "helper", "helpers", "common", "misc", "data", "info", "manager")
EVERY_SOURCE = list(sources(*ROOTS, "tests"))


@pytest.mark.parametrize("root", ROOTS)
def test_a_root_resolves_inside_this_tree(root: str) -> None:
    """Packages named `agents`, `events` and `ops` exist on public registries too."""
    spec = importlib.util.find_spec(root)
    assert spec is not None and spec.origin is not None, f"{root} is not a package: it needs an __init__.py"
    assert Path(spec.origin).parent == CHECKOUT / root


def test_every_folder_of_code_is_a_package() -> None:
    """A folder without __init__.py loses to an installed package of the same name."""
    bare = {str(each.path.parent) for each in sources() if not (each.path.parent / "__init__.py").exists()}
    assert {folder for folder in bare if not is_a_program(Path(folder))} == set()


def is_a_program(folder: Path) -> bool:
    """Folders that run in another environment, as scripts: nothing imports them."""
    return folder.name.endswith("_tools") or "templates" in folder.parts


@pytest.mark.parametrize("source", EVERY_SOURCE, ids=lambda source: source.name)
def test_a_module_says_what_it_is_for(source: Source) -> None:
    if source.path.name == "__init__.py" and not source.text.strip():
        return
    assert ast.get_docstring(source.tree), f"{source.name} needs a module docstring of 1 to 8 sentences"


def test_no_name_says_nothing() -> None:
    vague = [f"{s.name}: module" for s in EVERY_SOURCE if s.path.stem in FORBIDDEN_MODULES]
    for source in EVERY_SOURCE:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ClassDef) and node.name.endswith(FORBIDDEN_ENDINGS):
                vague.append(f"{source.name}:{node.lineno}: class {node.name}")
    assert vague == []


def test_nothing_is_left_for_later() -> None:
    marks = re.compile(r"#\s*(TODO|FIXME|XXX|HACK)\b")
    assert [s.name for s in EVERY_SOURCE if marks.search(s.text)] == []
