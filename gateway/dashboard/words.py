"""The pieces that all pages are made of: tables, fields, badges, links to positions, times, sizes. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from gateway.dashboard.markup import Child, Markup, join, tag
from gateway.dashboard.moment import Moment
from projections.audit import AuditRow, RefusedRow
from projections.describe import describe_body

GOOD = ("ACTIVE", "up", "ready", "SUCCEEDED", "delivered", "up to date")
BAD = (
    "BUILD_FAILED",
    "DEPLOY_FAILED",
    "UNHEALTHY",
    "lost",
    "unready",
    "FAILED",
    "RAMPING_DOWN",
    "failed",
    "has dead letters",
)
QUIET = ("SCALED_TO_ZERO", "INACTIVE", "BUILD_STOPPED", "left", "CANCELED", "not there", "as it was", "not begun")
SAID_MAX = 240


def badge(word: str) -> Markup:
    kind = "good" if word in GOOD else "bad" if word in BAD else "quiet" if word in QUIET else "busy"
    return tag("span", word.replace("_", " ").lower(), class_=f"badge {kind}")


def table(columns: Iterable[str], rows: Iterable[Iterable[Child]], empty: Child, kind: str = "") -> Markup:
    """Each cell knows its column's name, for narrow screens; one without a name is the row's own title there."""
    names = tuple(columns)
    body = [
        tag("tr", [tag("td", tag("div", cell), data_label=name) for name, cell in zip(names, row, strict=True)])
        for row in rows
    ]
    if not body:
        return tag("p", empty, class_="empty")
    head = tag("thead", tag("tr", [tag("th", name, scope="col") for name in names]))
    return tag("div", tag("table", head, tag("tbody", body), class_=kind or None), class_="scroll")


def fields(pairs: Mapping[str, Child]) -> Markup:
    return tag("dl", [tag("div", tag("dt", name), tag("dd", value)) for name, value in pairs.items()])


def section(title: str, *content: Child, beside: Child = None, id_: str | None = None) -> Markup:
    return tag("section", tag("div", tag("h2", title), beside, class_="head"), content, id=id_)


def position_link(moment: Moment, position: int) -> Markup | None:
    """None where it lies before all that can be shown."""
    if position <= moment.beginning:
        return None
    label = f"event at position {position}"
    return tag("a", f"#{position}", href=moment.link(f"/events/{position}"), class_="position", aria_label=label)


def when(at: datetime, moment: Moment) -> Markup:
    """The day only where it is another one than the moment's."""
    shown = f"{at:%H:%M:%S}" if at.date() == moment.until.date() else f"{at:%Y-%m-%d %H:%M:%S}"
    return tag("time", shown, datetime=f"{at:%Y-%m-%dT%H:%M:%S.%fZ}", title=f"{at:%Y-%m-%d %H:%M:%S.%f} UTC")


def seconds(value: float) -> str:
    if value < 0.9995:
        return f"{value * 1000:.0f} ms"
    if value < 59.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"


def gib(size_bytes: float) -> str:
    return f"{size_bytes / 2**30:.3g}"


def bar(share: float, label: str, kind: str = "") -> Markup:
    """A share of 1 as a bar; the label says it in words."""
    width = round(100 * min(max(share, 0.0), 1.0), 1)
    return tag(
        "svg", tag("rect", width=100, height=8, class_="track"),
        tag("rect", width=width, height=8),
        viewBox="0 0 100 8", preserveAspectRatio="none", role="img", aria_label=label, class_=f"bar {kind}".strip(),
    )  # fmt: skip


def notice(text: Child, kind: str = "note") -> Markup:
    return tag("p", text, class_=f"notice {kind}", role="alert" if kind == "bad" else "status")


def said(row: AuditRow) -> Markup | None:
    text = describe_body(row.body)
    return dim(text if len(text) <= SAID_MAX else text[: SAID_MAX - 1] + "…")


def dim(text: str) -> Markup | None:
    """Prose beside what counts; nothing where there is none."""
    return tag("span", text, class_="said") if text else None


def timeline(rows: Sequence[AuditRow], moment: Moment, empty: str = "No such events.") -> Markup:
    return table(
        ("position", "time (UTC)", "event", "of", "says", "by"),
        [
            (
                position_link(moment, row.position),
                when(row.at, moment),
                tag("a", row.type, href=moment.link(f"/events/{row.position}"), class_="open"),
                entity(row, moment),
                said(row),
                actor(row, "/events", moment),
            )
            for row in rows
        ],
        empty,
        "events",
    )


def actor(row: AuditRow | RefusedRow, path: str, moment: Moment, **query: str) -> Markup:
    """A key with its name, which nobody can take for another kind of actor."""
    name = moment.key_name(row.actor.removeprefix("key:")) if row.actor.startswith("key:") else ""
    link = tag("a", row.actor, href=moment.link(path, actor=row.actor, **query))
    return join((link, tag("span", f" {name}", class_="dim") if name else None))


def entity(row: AuditRow | RefusedRow, moment: Moment) -> Markup:
    label = moment.label(row.entity)
    title = row.entity if label != row.entity else None
    name = tag("a", label, href=moment.link("/events", entity=row.entity), class_="id", title=title)
    return join((tag("span", f"{row.category} ", class_="dim"), name))
