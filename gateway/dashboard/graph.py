"""The causal graph of an event: up to what began it, down to all that followed from it. Pure.

One row an event, in the order of time; lines at the left lead from each cause to what it caused, as a history of
versions is drawn.
"""

from collections.abc import Sequence

import msgspec

from events.base import EventId, StreamName
from events.codec import Recorded
from gateway.dashboard.markup import Markup, join, tag
from gateway.dashboard.moment import Moment
from gateway.dashboard.recorded import recorded
from gateway.dashboard.words import entity, position_link, said, seconds
from projections.audit import AuditRow
from projections.causality import Link, link

ROWS_MAX = 80
ROW, LANE, LANES_WIDE = 44, 18, 9
"""Pixels, as the style sheet has them; more lanes than so many are drawn nearer to each other."""


class Placed(msgspec.Struct, frozen=True):
    row: AuditRow
    parent: int | None
    """Which of the rows before it caused it."""
    lane: int


def family(rows: Sequence[AuditRow], event_id: str) -> list[tuple[AuditRow, str | None]]:
    """The event, what it followed from, and what followed from it: each with the id of its cause.

    `rows`: in the order of positions, all that may belong to it.
    """
    links = _links(rows)
    kept, above = {EventId(event_id)}, links.get(EventId(event_id))
    while above is not None and above.parent in links and links[above.parent].position < above.position:
        kept.add(above.parent)
        above = links[above.parent]
    below = {EventId(event_id)}
    for each in links.values():
        if each.parent in below:
            below.add(each.event_id)
    kept |= below
    return [(row, links[EventId(row.event_id)].parent) for row in rows if row.event_id in kept]


def _links(rows: Sequence[AuditRow]) -> dict[EventId, Link]:
    known, first, last = dict[EventId, Recorded](), dict[StreamName, Recorded](), dict[StreamName, Recorded]()
    links = dict[EventId, Link]()
    for each in recorded(rows):
        cause = known.get(each.meta.causation_id) if each.meta.causation_id is not None else None
        links[each.meta.id] = link(each, cause, first.get(each.stream), last.get(each.stream))
        known[each.meta.id] = last[each.stream] = each
        first.setdefault(each.stream, each)
    return links


def placed(related: Sequence[tuple[AuditRow, str | None]]) -> list[Placed]:
    """A first child goes on in the lane of its parent; the others get lanes of their own until their lines end."""
    index = {row.event_id: number for number, (row, _) in enumerate(related)}
    children: dict[int, list[int]] = {}
    for number, (_, parent) in enumerate(related):
        if parent in index:
            children.setdefault(index[parent], []).append(number)
    lanes, taken = dict[int, int](), set[int]()
    result = list[Placed]()
    for number, (row, parent) in enumerate(related):
        lane = lanes.get(number)
        if lane is None:
            lane = lanes[number] = _free(taken)
            taken.add(lane)
        first, *others = children.get(number, [None])
        if first is None:
            taken.discard(lane)
        else:
            lanes[first] = lane
        for each in others:
            if each is not None:
                lanes[each] = _free(taken)
                taken.add(lanes[each])
        result.append(Placed(row, index.get(parent) if parent is not None else None, lane))
    return result


def _free(taken: set[int]) -> int:
    return next(lane for lane in range(len(taken) + 1) if lane not in taken)


def graph(rows: Sequence[AuditRow], event_id: str, moment: Moment) -> Markup:
    related = family(rows, event_id)
    shown = placed(related[:ROWS_MAX])
    wide = max(each.lane for each in shown) + 1
    lane = LANE if wide <= LANES_WIDE else LANE * LANES_WIDE / wide
    edges = [
        _edge(shown[each.parent], each.parent, each, number, lane)
        for number, each in enumerate(shown)
        if each.parent is not None
    ]
    dots = [_node(each, number, lane, each.row.event_id == event_id) for number, each in enumerate(shown)]
    width, height = _x(wide - 1, lane) + LANE, len(shown) * ROW
    picture = tag("svg", edges, dots, width=width, height=height, aria_hidden="true", class_="lanes")
    items = [_item(each, shown, event_id, moment) for each in shown]
    more = len(related) - len(shown)
    left = tag("p", f"{more} later events of the same family are not drawn.", class_="dim") if more else None
    return join((tag("div", picture, tag("ol", items), class_="graph"), left))


def _item(each: Placed, shown: Sequence[Placed], event_id: str, moment: Moment) -> Markup:
    row = each.row
    is_it = row.event_id == event_id
    cause = shown[each.parent].row if each.parent is not None else None
    after = f"+{seconds((row.at - cause.at).total_seconds())}" if cause is not None else ""
    label = tag(
        "a",
        row.type,
        href=moment.link(f"/events/{row.position}"),
        class_="open",
        aria_current="true" if is_it else None,
    )
    followed = f"follows from position {cause.position}" if cause is not None else "began it"
    first = tag("p", label, " ", position_link(moment, row.position), tag("span", f" {after}", class_="dim"),
                tag("span", f", {followed}", class_="unseen"))  # fmt: skip
    return tag("li", first, tag("p", entity(row, moment), " ", said(row)))


def _x(lane: int, step: float) -> float:
    return round(LANE / 2 + lane * step, 1)


def _y(number: int) -> float:
    return number * ROW + ROW / 2


def _edge(parent: Placed, above: int, child: Placed, below: int, step: float) -> Markup:
    """Out of the parent into the lane of the child at once, then straight down."""
    x, to = _x(parent.lane, step), _x(child.lane, step)
    top, bottom = _y(above), _y(below)
    if x == to:
        return tag("path", d=f"M{x} {top}V{bottom}")
    turn = top + ROW / 2
    return tag("path", d=f"M{x} {top}C{x} {turn} {to} {top + 6} {to} {min(top + ROW, bottom)}V{bottom}")


def _node(each: Placed, number: int, step: float, is_it: bool) -> Markup:
    return tag(
        "circle", cx=_x(each.lane, step), cy=_y(number), r=6.5 if is_it else 4.5, class_="here" if is_it else None
    )
