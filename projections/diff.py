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


Mask = dict[str, Any] | bool | None
"""Of a tree: all of it, the entity alone of a list (False), branches by their names, or nothing."""


def part_about(tree: Tree, entity: str) -> Tree | None:
    """What a view says of an entity: None when nothing."""
    mask = about(tree, entity)
    return None if mask is None else _cut(tree, mask, entity)


def diff_about(before: Tree, after: Tree, entity: str) -> tuple[Change, ...]:
    """What differs in what the one or the other says of the entity. That one says more of it is no change by itself."""
    mask = _both(about(before, entity), about(after, entity))
    return () if mask is None else diff(_cut(before, mask, entity), _cut(after, mask, entity))


def about(view: Tree, entity: str) -> Mask:
    """Kept whole: what stands under the entity's id, and a record that names it in a field of its own. Of everything
    else only the branches that lead there; of a table of single ids only the lines about it. An environment, whose id
    no state has, is found by its model and its name.
    """
    masks = {
        name: _branches(each, entity) if isinstance(each, dict) else _about(each, entity) for name, each in view.items()
    }
    kept = {name: mask for name, mask in masks.items() if mask is not None}
    model_id, _, environment = entity.partition("-")
    model = view.get("models", {}).get(model_id) if environment and not kept else None
    mask = None if model is None else _about(model, environment)
    return kept or (None if mask is None else {"models": {model_id: mask}})


def _about(tree: Tree, entity: str) -> Mask:
    match tree:
        case str():
            return True if tree == entity else None
        case list():
            return False if entity in tree else None
        case dict():
            return True if entity in tree.values() else _branches(tree, entity)
        case _:
            return None


def _branches(tree: Tree, entity: str) -> Mask:
    masks = {name: True if name == entity else _about(each, entity) for name, each in tree.items()}
    return {name: mask for name, mask in masks.items() if mask is not None} or None


def _both(one: Mask, other: Mask) -> Mask:
    if one is None or other is None:
        return other if one is None else one
    if isinstance(one, dict) and isinstance(other, dict):
        return {name: _both(one.get(name), other.get(name)) for name in one | other}
    return one is not False or other is not False


def _cut(tree: Tree, mask: Mask, entity: str) -> Tree:
    if isinstance(mask, dict) and isinstance(tree, dict):
        return {name: _cut(each, mask[name], entity) for name, each in tree.items() if name in mask}
    return [each for each in tree if each == entity] if mask is False and isinstance(tree, list) else tree
