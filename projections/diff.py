"""What differs between two states, as a list of changes in a stable order. Pure; states are trees of plain values."""

from collections.abc import Iterable, Iterator
from typing import Any, Literal

import msgspec

Tree = Any
"""Mappings with text keys, lists, and plain values."""
Path = tuple[str, ...]


class Change(msgspec.Struct, frozen=True):
    path: Path
    kind: Literal["added", "removed", "changed"]
    before: Any = None
    after: Any = None

    def __str__(self) -> str:
        where = ".".join(self.path) or "(all)"
        match self.kind:
            case "added":
                return f"{where}: + {show(self.after)}"
            case "removed":
                return f"{where}: - {show(self.before)}"
            case "changed":
                return f"{where}: {show(self.before)} -> {show(self.after)}"


def diff(before: Tree, after: Tree) -> tuple[Change, ...]:
    """Ordered by path. A mapping that is new or gone is one change; lists are compared as a whole."""
    return tuple(_changes((), before, after))


def _changes(path: Path, before: Tree, after: Tree) -> Iterator[Change]:
    if not (isinstance(before, dict) and isinstance(after, dict)):
        if before != after or type(before) is not type(after):
            yield Change(path, "changed", before, after)
        return
    for name in sorted(before.keys() | after.keys()):
        here = (*path, name)
        if name not in before:
            yield Change(here, "added", after=after[name])
        elif name not in after:
            yield Change(here, "removed", before=before[name])
        elif before[name] != after[name] or not isinstance(after[name], dict):
            yield from _changes(here, before[name], after[name])


def apply(tree: Tree, changes: Iterable[Change]) -> Tree:
    """The tree with the changes made: what `diff` found between two states leads from the one to the other."""
    for change in changes:
        tree = _with(tree, change.path, change)
    return tree


def _with(tree: Tree, path: Path, change: Change) -> Tree:
    if not path:
        return change.after
    name, *rest = path
    if not rest and change.kind == "removed":
        return {each: value for each, value in tree.items() if each != name}
    return {**tree, name: _with(tree.get(name), tuple(rest), change)}


def show(value: Any) -> str:
    """A value on one line, without the quotes that only a machine needs."""
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case str():
            return value or "(empty)"
        case dict():
            return "{" + ", ".join(f"{name}: {show(each)}" for name, each in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(show(each) for each in value) + "]"
        case _:
            return str(value)


def part_about(tree: Tree, entity: str) -> Tree | None:
    """As `part_of`; an environment, whose id no state has, is found by its model and its name."""
    found = part_of(tree, entity)
    model_id, _, environment = entity.partition("-")
    model = tree.get("models", {}).get(model_id) if environment and isinstance(tree, dict) else None
    if found is not None or model is None:
        return found
    part = part_of(model, environment)
    return None if part is None else {"models": {model_id: part}}


def part_of(tree: Tree, entity: str) -> Tree | None:
    """What a state says of one entity: None when nothing.

    Kept whole: what stands under the entity's id, and a mapping that names it in a field of its own. Of everything
    else only the branches that lead there.
    """
    if isinstance(tree, dict):
        if any(value == entity for value in tree.values() if isinstance(value, str)):
            return tree
        kept = {
            name: value if name == entity else part
            for name, value in tree.items()
            if name == entity or (part := part_of(value, entity)) is not None
        }
        return kept or None
    return [entity] if isinstance(tree, list) and entity in tree else None
