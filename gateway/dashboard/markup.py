"""HTML that cannot be broken by what it shows: text is escaped unless it was made here. Pure."""

from collections.abc import Iterable
from html import escape
from typing import Any

EMPTY = frozenset(("input", "meta", "link", "br", "hr"))
"""HTML that has no end; of SVG every element may close itself."""
DRAWN = frozenset(("line", "polyline", "path", "circle", "rect"))


class Markup(str):
    """Text that is HTML already."""


Child = Any
"""Markup, plain text, a number, None for nothing, or several of them."""


def tag(name: str, /, *children: Child, **attributes: str | int | float | bool | None) -> Markup:
    """`class_` loses its underscore, others become `-`; True is an attribute alone, None and False are none."""
    given = "".join(
        f" {_name(key)}" if value is True else f' {_name(key)}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in EMPTY:
        return Markup(f"<{name}{given}>")
    if name in DRAWN and not children:
        return Markup(f"<{name}{given}/>")
    return Markup(f"<{name}{given}>{join(children)}</{name}>")


def join(children: Child) -> Markup:
    match children:
        case None:
            return Markup()
        case Markup():
            return children
        case str() | int() | float():
            return Markup(escape(str(children)))
        case Iterable():
            return Markup("".join(join(each) for each in children))
    raise TypeError(f"{type(children).__name__} is nothing that a page shows")


def _name(key: str) -> str:
    # SVG has names with capitals and one with a hyphen where Python has an underscore.
    return key.rstrip("_").replace("_", "-")
