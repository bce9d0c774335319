"""Recorded load under the settings that held and under others: both replayed, beside what really ran. Pure."""

from collections.abc import Iterator, Mapping
from datetime import datetime

import msgspec

from events.scaling import AutoscalingSettings
from events.signals.load_history import Moment as Load
from gateway.control.settings import shown as named
from gateway.dashboard.axes import Panel, Span, legend, nice, picture, times
from gateway.dashboard.chart import BOTTOM, HEIGHT, TOP, load_panel
from gateway.dashboard.deployment_page import SPANS, head
from gateway.dashboard.markup import Markup, join, tag
from gateway.dashboard.moment import ROOT, Moment, World, deployment_path
from gateway.dashboard.words import seconds, section, table
from handlers.whatif import Outcome, measures
from projections.deployments import Deployment

NUMBERS = ("min_replica", "max_replica", "autoscaling_window", "scale_down_delay", "concurrency_target",
           "target_utilization_percentage", "max_scale_down_rate")  # fmt: skip
UNITS = {
    "autoscaling_window": "s",
    "scale_down_delay": "s",
    "target_utilization_percentage": "%",
    "max_scale_down_rate": "%",
}


class Rehearsed(msgspec.Struct, frozen=True):
    begin: datetime
    end: datetime
    loads: list[Load]
    ran: tuple[tuple[float, float], ...]
    """Ready replicas as they really were: from when on how many."""
    start_s: float
    starts_seen: int
    """Finished starts that `start_s` is the p50 of; 0: it is assumed."""
    as_set: Outcome
    what_if: Outcome


class Asked(msgspec.Struct, frozen=True):
    span: str
    settings: AutoscalingSettings
    """That held at the beginning."""
    given: Mapping[str, str]
    """The form as it was sent."""


def whatif(world: World, found: Deployment, asked: Asked, told: Rehearsed | Markup, moment: Moment) -> Markup:
    """`told`: or why there is nothing to tell."""
    shown = _told(told) if isinstance(told, Rehearsed) else told
    return join((head(found, world, moment, "/whatif"), _form(found, asked, moment), shown))


def _form(found: Deployment, asked: Asked, moment: Moment) -> Markup:
    now = named(asked.settings)
    inputs = [
        tag(
            "label", f"{name.replace('_', ' ')}{f' ({UNITS[name]})' if name in UNITS else ''}",
            tag("input", name=name, type="number", value=asked.given.get(name) or now[name], min=0, required=True),
            tag("small", f"then: {now[name]}"),
        )
        for name in NUMBERS
    ]  # fmt: skip
    options = [tag("option", each, value=each, selected=each == asked.span) for each in SPANS]
    then = tag("small", "“then”: as set at its beginning")
    at = tag("input", type="hidden", name="at", value=moment.position) if moment.fixed else None
    return tag(
        "form", tag("label", "over the last", tag("select", options, name="span"), then), inputs, at,
        tag("div", tag("button", "Replay", class_="primary"), class_="buttons"),
        method="get", action=ROOT + deployment_path(found.deployment_id, "/whatif"), class_="filters settings",
    )  # fmt: skip


def _told(told: Rehearsed) -> Markup:
    starts = f"as it did at p50 of {told.starts_seen} starts" if told.starts_seen else "as assumed: none has been seen"
    how = f"{len(told.loads)} records of 10 s, through the autoscaler that runs in life. Both sides are replayed;"
    how += f" a replica starts in {seconds(told.start_s)}, {starts}. Callers who would have waited longer ask no less."
    rows = _rows(told.as_set, told.what_if)
    return join([
        section("Load, and replicas under it", _chart(told)),
        section("What it comes to", table(
            ("over this time", "as set then", "what if", "change"), rows, "", "compact numbers"
        )),
        tag("p", how, class_="dim"),
    ])  # fmt: skip


def _chart(told: Rehearsed) -> Markup:
    span = Span(told.begin.timestamp(), told.end.timestamp())
    above, words = load_panel(span, told.loads)
    as_set, other = ([(each.at, float(each.target)) for each in side.standings] for side in (told.as_set, told.what_if))
    most = nice(max(value for line in (told.ran, as_set, other) for _, value in line))
    below = Panel(span, TOP, BOTTOM, most, "replicas")
    drawn = picture(
        HEIGHT, "load above; below, replicas that ran, as set, and with the other settings",
        above, below.grid(), times(span, HEIGHT - 8),
        below.filled(told.ran, "ready"), below.steps(as_set, "as-set"), below.steps(other, "target"),
    )  # fmt: skip
    replicas = (("ready", "were ready"), ("as-set", "target as set then, replayed"), ("target", "target, what if"))
    return tag("figure", drawn, legend(("load", words), *replicas))


def _rows(one: Outcome, other: Outcome) -> Iterator[tuple[Markup, ...]]:
    for each in measures(one, other):
        was, would_be, change = each.shown()
        numbers = (was, would_be, "same" if was == would_be else change)
        yield tag("span", each.name, class_="open"), *(tag("span", number, class_="number") for number in numbers)
