"""The timeline with its filters, and one event whole: what it changed, what it followed from, what followed. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from urllib.parse import urlencode

import msgspec

from gateway.dashboard.graph import graph
from gateway.dashboard.markup import Child, Markup, join, tag
from gateway.dashboard.moment import ROOT, Moment
from gateway.dashboard.sources import Found
from gateway.dashboard.words import actor, entity, fields, notice, section, timeline
from projections.audit import AuditRow
from projections.diff import Change, show

FILTERS = {
    "types": ("event", "Replica*"),
    "entity": ("of", "iris/production"),
    "actor": ("by", "key:*"),
    "correlation": ("request", "id of a request"),
    "since": ("from (UTC)", "2026-11-21 19:30"),
    "until": ("before (UTC)", "2026-11-21 20:00"),
}
VALUE_MAX = 400
Label = Callable[[str], str]
VIEWS = {
    "deployments": "Deployments",
    "environments": "Environments",
    "fleet": "Fleet",
    "routing": "Routing",
    "replica_targets": "Targets of nodes",
}


class OneEvent(msgspec.Struct, frozen=True):
    row: AuditRow
    changes: Mapping[str, Sequence[Change]] | None
    """By the name of the fold; None: what was before cannot be told."""
    related: Found
    """All that may have to do with it, in the order of positions."""


def filter_form(
    path: str, filters: Mapping[str, str], moment: Moment, *, hidden: Mapping[str, str] | None = None
) -> Markup:
    inputs = [
        tag("label", text, tag("input", name=name, value=filters.get(name, ""), placeholder=hint, autocomplete="off",
                               spellcheck="false"))
        for name, (text, hint) in FILTERS.items()
    ]  # fmt: skip
    kept = dict(hidden or {}) | ({"at": str(moment.position)} if moment.fixed else {})
    carried = [tag("input", type="hidden", name=name, value=value) for name, value in kept.items()]
    clear = tag("a", "clear", href=moment.link(path, **(hidden or {}))) if filters else None
    buttons = tag("div", tag("button", "Filter", class_="primary"), clear, class_="buttons")
    return tag("form", inputs, carried, buttons, method="get", action=ROOT + path, class_="filters", role="search")


def events(found: Found, filters: Mapping[str, str], limit: int, moment: Moment) -> Markup:
    rows = found.rows
    older: Markup | None = None
    if len(rows) == limit and rows[0].position > moment.beginning + 1:
        query = urlencode({**filters, "at": rows[0].position - 1})
        older = tag(
            "p", tag("a", "Older ↓", href=f"{ROOT}/events?{query}", rel="next", class_="button"), class_="pager"
        )
    return join([
        tag("h1", "Events"),
        filter_form("/events", filters, moment),
        notice(found.note) if found.note else None,
        timeline(rows[::-1], moment, "No such events up to here."),
        older,
    ])  # fmt: skip


def event(shown: OneEvent, moment: Moment) -> Markup:
    row = shown.row
    body = msgspec.json.format(msgspec.json.encode(row.body)).decode()
    began = tag("a", row.correlation_id, href=moment.link("/events", correlation=row.correlation_id), class_="id")
    return join([
        tag("div", tag("h1", row.type), tag("span", f"#{row.position}", class_="position"), class_="name"),
        _ways(row, moment),
        fields({
            "time (UTC)": f"{row.at:%Y-%m-%d %H:%M:%S.%f}",
            "of": entity(row, moment),
            "by": (actor(row, "/events", moment), f" ({row.actor_how})"),
            "request": began,
        }),
        section("What it changed", _changes(shown.changes, moment.label)),
        section("Why, and what followed", notice(shown.related.note) if shown.related.note else None,
                graph(shown.related.rows, row.event_id, moment)),
        section("The event itself", tag("pre", body, tabindex=0)),
    ])  # fmt: skip


def _ways(row: AuditRow, moment: Moment) -> Markup:
    neighbours = [
        tag("a", text, href=moment.link(f"/events/{position}"), rel=rel, class_="button")
        for text, position, rel in (("← before", row.position - 1, "prev"), ("next →", row.position + 1, "next"))
        if moment.beginning < position <= moment.head
    ]
    before = tag("a", "the plane just before", href=moment.then("", row.position - 1), class_="button")
    after = tag("a", "the plane just after", href=moment.then("", row.position), class_="button")
    return tag("p", neighbours, before if row.position > moment.beginning else None, after, class_="ways")


def _changes(changes: Mapping[str, Sequence[Change]] | None, label: Label) -> Markup:
    if changes is None:
        return tag("p", "What was before cannot be told here.", class_="empty")
    told = [
        tag("div", tag("h3", VIEWS.get(name, name)), tag("ul", [_change(each, label) for each in found], class_="diff"))
        for name, found in changes.items()
        if found
    ]
    return join(told) if told else tag("p", "Nothing that pages, routing or nodes go by.", class_="empty")


def _leaves(record: Mapping[str, object], below: str = "") -> Iterator[tuple[str, object]]:
    for name, value in record.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{below}{name} ")
        elif value not in (None, "", False, [], 0):
            yield f"{below}{name}", value


def _change(change: Change, label: Label) -> Markup:
    where = tag("span", [(_named(each, label), " ") for each in change.path if each], class_="path")
    was = tag("del", _short(change.before, label)) if change.kind != "added" else None
    is_now = tag("ins", _short(change.after, label)) if change.kind != "removed" else None
    arrow = tag("span", " → ", class_="dim") if was and is_now else None
    return tag("li", where, tag("div", was, arrow, is_now))


def _short(value: object, label: Label) -> Child:
    """A record as its fields, without those that are empty."""
    if isinstance(value, dict) and len(value) > 1:
        leaves = ((tag("span", name, class_="path"), " ", _short(each, label)) for name, each in _leaves(value))
        return tag("ul", [tag("li", leaf) for leaf in leaves])
    if isinstance(value, str) and value:
        return _named(value, label)
    text = show(value)
    return text if len(text) <= VALUE_MAX else text[: VALUE_MAX - 1] + "…"


def _named(text: str, label: Label) -> Child:
    """An id by the name that people know, the id in its title."""
    known = label(text)
    if known != text:
        return tag("span", known, title=text)
    return text if len(text) <= VALUE_MAX else text[: VALUE_MAX - 1] + "…"
