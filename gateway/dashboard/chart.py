"""A deployment over time as one picture: load above, replicas below, a dot for each decision. Pure."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from events.signals.load_history import SPAN_S
from events.signals.load_history import Moment as Load
from gateway.dashboard.axes import Panel, Span, legend, nice, picture, times
from gateway.dashboard.markup import Markup, tag
from gateway.dashboard.moment import Moment
from projections.audit import AuditRow

GONE = ("ReplicaUnready", "ReplicaDraining", "ReplicaStopped", "ReplicaFailed", "ReplicaLost")
DECISIONS = ("ReplicaTargetRaised", "ReplicaTargetLowered", "ScaledToZero")
HEIGHT, LOAD_TOP, LOAD_BOTTOM, TOP, BOTTOM = 356, 32, 142, 190, 322
Line = list[tuple[float, float]]


class Decision(msgspec.Struct, frozen=True):
    at: datetime
    position: int
    previous: int
    target: int
    rule: str
    mean: float
    """Requests at replicas and waiting, as it saw them."""


class Story(msgspec.Struct, frozen=True):
    decisions: tuple[Decision, ...]
    ready: tuple[tuple[datetime, int], ...]
    """From when on how many; before the first it is `ready_before`."""
    ready_before: int
    target_before: int


def story(rows: Sequence[AuditRow], since: datetime, ready_now: int, target_now: int) -> Story:
    """What happened since then, from one deployment's events in the order of their positions, which may begin anywhere.

    How many were ready before them follows from how many are in the end.
    """
    decisions, changes = list[Decision](), list[tuple[datetime, int]]()
    up: dict[str, bool] = {}
    count = 0
    for row in rows:
        if row.type in DECISIONS:
            grounds, previous = row.body.get("grounds") or {}, int(row.body["previous"])
            target, rule = int(row.body.get("target", 0)), str(row.body["rule"])
            decisions.append(Decision(row.at, row.position, previous, target, rule, float(grounds.get("mean", 0.0))))
        elif row.type == "ReplicaReady" or row.type in GONE:
            is_up = row.type == "ReplicaReady"
            if up.get(row.entity, False) != is_up:
                up[row.entity] = is_up
                count += 1 if is_up else -1
                changes.append((row.at, count))
    first = max(0, ready_now - count)
    ready = tuple((at, first + each) for at, each in changes if at >= since)
    before = next((first + each for at, each in reversed(changes) if at < since), first)
    earlier = [each.target for each in decisions if each.at < since]
    shown = tuple(each for each in decisions if each.at >= since)
    return Story(shown, ready, before, shown[0].previous if shown else earlier[-1] if earlier else target_now)


def chart(told: Story, loads: Sequence[Load] | None, begin: datetime, end: datetime, moment: Moment) -> Markup:
    span = Span(begin.timestamp(), max(end.timestamp(), begin.timestamp() + 1))
    target = _held(told.target_before, [(each.at.timestamp(), each.target) for each in told.decisions], span)
    ready = _held(told.ready_before, [(at.timestamp(), count) for at, count in told.ready], span)
    above, seen = load_panel(span, loads, [(each.at.timestamp(), each.mean) for each in told.decisions])
    most = nice(max(value for _, value in (*target, *ready)))
    below = Panel(span, TOP, BOTTOM, most, "replicas")
    drawn = picture(
        HEIGHT, "requests at once above, replicas below, over time",
        above, below.grid(), times(span, HEIGHT - 8),
        below.filled(ready, "ready"), below.steps(target, "target"),
        [_dot(each, below, moment) for each in told.decisions], role="group",
    )  # fmt: skip
    words = legend(("load", seen), ("ready", "ready"), ("target", "target"), ("decision", "a decision: open its event"))
    return tag("figure", drawn, words)


def load_panel(
    span: Span, loads: Sequence[Load] | None, seen: Sequence[tuple[float, float]] = ()
) -> tuple[Markup, str]:
    """Recorded load; where there is no record of it, what decisions saw. And its name."""
    if loads is None:
        panel = Panel(
            span, LOAD_TOP, LOAD_BOTTOM, nice(max([value for _, value in seen], default=1)), "requests at once"
        )
        line = panel.steps(list(seen), "load seen")
        return tag("g", panel.grid(), line), "load, as each decision saw it (no record of it can be read)"
    panel = Panel(
        span, LOAD_TOP, LOAD_BOTTOM, nice(max([each.peak for _, each in loads], default=1)), "requests at once"
    )
    peaks = panel.area([(at - SPAN_S, at, float(each.peak)) for at, each in loads], "peak")
    means = panel.area([(at - SPAN_S, at, each.mean) for at, each in loads], "load")
    return tag("g", panel.grid(), peaks, means), "load: mean and peak of ten seconds"


def _held(before: float, changes: Sequence[tuple[float, float]], span: Span) -> Line:
    return [(span.begin, before), *changes]


def _dot(decision: Decision, panel: Panel, moment: Moment) -> Markup:
    told = f"{decision.at:%H:%M:%S}: {decision.previous} → {decision.target} replicas, rule {decision.rule}"
    told += f", load {decision.mean:.3g} (position {decision.position})"
    x = panel.span.x(decision.at.timestamp())
    mark = tag("line", x1=x, x2=x, y1=LOAD_TOP, y2=BOTTOM, class_="mark")
    dot = tag("circle", tag("title", told), cx=x, cy=panel.y(decision.target), r=4.5)
    return tag("a", mark, dot, href=moment.link(f"/events/{decision.position}"), aria_label=told)


def share_chart(steps: Line, end: float) -> Markup:
    """The candidate's share of the traffic over time, in percent."""
    span = Span(steps[0][0], max(end, steps[0][0] + 1))
    panel = Panel(span, 32, 126, 100, "share of traffic, percent")
    levels = [(span.begin, 0.0), *steps]
    dots = [tag("circle", cx=span.x(at), cy=panel.y(value), r=3.5) for at, value in steps]
    drawn = picture(160, "the candidate's share of the traffic over time", panel.grid(), times(span, 152),
                    panel.filled(levels, "target"), dots)  # fmt: skip
    return tag("figure", drawn, legend())
