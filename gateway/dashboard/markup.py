"""HTML that cannot be broken by what it shows: text is escaped unless it was made here. Pure."""

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

VOID = frozenset(("input", "meta", "link", "br", "line", "polyline", "path", "circle", "rect"))


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
    if name in VOID and not children:
        return Markup(f"<{name}{given}>" if name in ("input", "meta", "link", "br") else f"<{name}{given}/>")
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


def table(columns: Iterable[str], rows: Iterable[Iterable[Child]], empty: str) -> Markup:
    """Each cell knows its column's name, for narrow screens."""
    names = tuple(columns)
    body = [
        tag("tr", [tag("td", tag("span", cell), data_label=name) for name, cell in zip(names, row, strict=True)])
        for row in rows
    ]
    if not body:
        return tag("p", empty, class_="empty")
    head = tag("thead", tag("tr", [tag("th", name, scope="col") for name in names]))
    return tag("table", head, tag("tbody", body))


def fields(pairs: Mapping[str, Child]) -> Markup:
    return tag("dl", [tag("div", tag("dt", name), tag("dd", value)) for name, value in pairs.items()])


def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")
