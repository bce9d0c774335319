"""Who did what, and what was refused to whom: the trail in PostgreSQL, searched. Pure."""

from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from gateway.dashboard.events_page import filter_form
from gateway.dashboard.markup import Markup, join, tag
from gateway.dashboard.moment import ROOT, Moment
from gateway.dashboard.words import actor, entity, notice, position_link, said, table, when
from projections.audit import AuditRow, RefusedRow

LATE = 10
"""Events that the trail may be behind the log from one moment to the next."""
WHATS = {"done": "What was done", "refused": "What was refused"}


def audit(
    rows: Sequence[AuditRow | RefusedRow], what: str, filters: Mapping[str, str], limit: int, moment: Moment,
    behind: int = 0,
) -> Markup:  # fmt: skip
    """Rows in rising order. `behind`: how many of the newest events they do not know yet."""
    shown = [_done(row, moment) if isinstance(row, AuditRow) else _refused(row, moment) for row in reversed(rows)]
    columns = ("time (UTC)", "who", "did" if what == "done" else "tried", "to", "details", "request")
    empty = "Nobody did anything that matches." if what == "done" else "Nothing was refused that matches."
    first = rows[0] if len(rows) == limit else None
    older = None
    if first is not None:
        before = first.position if isinstance(first, AuditRow) else first.number
        at = {"at": moment.position} if moment.fixed else {}
        query = urlencode({**filters, "what": what, "before": before, **at})
        older = tag("p", tag("a", "Older ↓", href=f"{ROOT}/audit?{query}", rel="next", class_="button"), class_="pager")
    late = f"The audit trail catches up: it does not have the newest {behind} events yet."
    told = notice(late) if behind >= LATE else None
    return join([_head(what, filters, moment), told, table(columns, shown, empty, "audit"), older])


def away(why: str, what: str, filters: Mapping[str, str], moment: Moment) -> Markup:
    others = {name: value for name, value in filters.items() if name != "before"}
    log = tag("a", "in the log itself", href=moment.link("/events", **others))
    instead = (" The newest events can be searched ", log, ".") if what == "done" else None
    told = f"The audit trail cannot be searched now: {why}. Nothing is lost: it catches up when PostgreSQL is back."
    return join((_head(what, filters, moment), notice((told, instead), "bad")))


def _head(what: str, filters: Mapping[str, str], moment: Moment) -> Markup:
    tabs = [
        tag("a", text, href=moment.link("/audit", what=name), aria_current="page" if name == what else None)
        for name, text in WHATS.items()
    ]
    shown = {name: value for name, value in filters.items() if name != "before"}
    return join((
        tag("h1", "Audit"), tag("nav", tabs, class_="tabs", aria_label="of the audit trail"),
        filter_form("/audit", shown, moment, hidden={"what": what}),
    ))  # fmt: skip


def _done(row: AuditRow, moment: Moment) -> tuple[object, ...]:
    return (
        (when(row.at, moment), " ", position_link(moment, row.position)),
        (
            actor(row, "/audit", moment),
            " ",
            tag("span", row.actor_how, class_="dim"),
        ),
        tag("a", row.type, href=moment.link(f"/events/{row.position}"), class_="open"),
        entity(row, moment),
        said(row),
        tag("a", row.correlation_id, href=moment.link("/audit", correlation=row.correlation_id), class_="id short"),
    )


def _refused(row: RefusedRow, moment: Moment) -> tuple[object, ...]:
    return (
        when(row.at, moment),
        (actor(row, "/audit", moment, what="refused"), " ", tag("span", row.actor_how, class_="dim")),
        tag("span", row.command, class_="open"),
        entity(row, moment),
        (tag("span", row.kind, class_="chip"), " ", row.reason, f" (field {row.field})" if row.field else None),
        tag("span", row.correlation_id, class_="id short"),
    )
