"""Environments: what is current where, promotions under way and those before them, settings. Pure."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from gateway.dashboard.chart import share_chart
from gateway.dashboard.markup import Markup, join, tag
from gateway.dashboard.moment import Moment, World, environment_path
from gateway.dashboard.plane_page import (
    deployment_link,
    finder,
    first,
    more,
    promotion_card,
    replaces,
)
from gateway.dashboard.recorded import recorded
from gateway.dashboard.sources import Found
from gateway.dashboard.words import badge, dim, fields, notice, position_link, seconds, section, table, timeline, when
from projections.deployments import status
from projections.environments import PRODUCTION, Environment
from projections.promotion import Progress, PromotionEvent, advance

EVENTS = 20
NOTHING_YET = "No environments yet: the first push of a model makes its production."


class Promotion(msgspec.Struct, frozen=True):
    """One promotion as its events tell it."""

    progress: Progress
    began_at: datetime
    position: int
    ended_at: datetime | None
    shares: tuple[tuple[float, float], ...]
    """Unix time and percent, at each change."""


def promotions(found: Found) -> tuple[Promotion, ...]:
    """The newest first."""
    told = list[Promotion]()
    for row, each in zip(found.rows, recorded(found.rows), strict=True):
        if not isinstance(each.event, PromotionEvent):
            continue
        last = told[-1] if told and told[-1].ended_at is None else None
        progress = advance(None if last is None else last.progress, each.event)
        if progress is None:
            continue  # Its beginning lies before the rows.
        ended_at = None if progress.active else row.at
        point = (row.at.timestamp(), float(progress.percent))
        if last is None:
            told.append(Promotion(progress, row.at, row.position, ended_at, (point,)))
        else:
            told[-1] = msgspec.structs.replace(
                last, progress=progress, ended_at=ended_at, shares=(*last.shares, point)
            )  # fmt: skip
    return tuple(reversed(told))


def environments(world: World, find: str, moment: Moment) -> Markup:
    """`find`: only those whose name, with that of the model, has this in it."""
    places = [
        world.environments.of(model.model_id)[name]
        for model in sorted(world.catalogue.models.values(), key=lambda model: model.name)
        for name in sorted(world.environments.of(model.model_id), key=_production_first)
        if find.lower() in f"{model.name}/{name}".lower()
    ]
    under_way = [place for place in places if place.active]
    beside = finder("/environments", find, moment, "model/environment")
    return join([
        tag("div", tag("h1", "Environments"), beside, class_="head"),
        section("Promotions under way", [promotion_card(place, world, moment) for place in under_way])
        if under_way
        else None,
        table(
            ("environment", "current", "promotion", "last promotion", "last change"),
            [
                (
                    tag("a", tag("span", f"{world.model_name(place.model_id)}/", class_="dim"), place.name,
                        href=moment.link(environment_path(place.model_id, place.name)), class_="open"),
                    _current(place, world, moment),
                    badge(place.progress.status) if place.progress else tag("span", "none yet", class_="dim"),
                    dim(_last(place, world)),
                    position_link(moment, place.position),
                )
                for place in first(places)
            ],
            f"No environment is about {find!r}." if find else NOTHING_YET,
        ),
        more(places),
    ])  # fmt: skip


def _current(place: Environment, world: World, moment: Moment) -> Markup:
    """With how it is."""
    found = world.catalogue.deployments.get(place.current) if place.current is not None else None
    return join((deployment_link(place.current, world, moment), " ", badge(status(found)) if found else None))


def _production_first(name: str) -> tuple[bool, str]:
    return name != PRODUCTION, name


def _last(place: Environment, world: World) -> str:
    """With the name that people gave the deployment."""
    progress = place.progress
    if progress is None or not place.last_result:
        return ""
    deployment_id = progress.started.deployment_id
    return place.last_result.replace(deployment_id, world.name(deployment_id).rpartition("/")[2])


def environment(world: World, place: Environment, found: Found, moment: Moment) -> Markup:
    told = promotions(found)
    current = _current(place, world, moment)
    name = (tag("span", f"{world.model_name(place.model_id)}/", class_="dim"), place.name)
    under_way = place.active is not None
    return join([
        tag("div", tag("h1", name), class_="name"),
        tag("p", "serves ", current, " ", position_link(moment, place.position), class_="reason"),
        notice(found.note) if found.note else None,
        section("Promotion under way", promotion_card(place, world, moment)) if under_way else None,
        section("Share of traffic", share_chart(list(told[0].shares), _end(told[0], moment)))
        if told and len(told[0].shares) > 2
        else None,
        section("Promotions", _history(told, world, moment)),
        section("Settings", _settings(place)),
        section(
            "Events", timeline(found.rows[::-1][:EVENTS], moment),
            beside=tag("a", "all of them", href=moment.link("/events", entity=f"{place.model_id}-{place.name}")),
        ),
    ])  # fmt: skip


def _end(told: Promotion, moment: Moment) -> float:
    return (told.ended_at or moment.until).timestamp()


def _history(told: Sequence[Promotion], world: World, moment: Moment) -> Markup:
    return table(
        ("began (UTC)", "deployment", "came to", "lasted", "steps", "why"),
        [
            (
                (when(each.began_at, moment), " ", position_link(moment, each.position)),
                replaces(each.progress, world, moment),
                badge(each.progress.status),
                tag("span", seconds(_end(each, moment) - each.began_at.timestamp()), class_="number"),
                tag("span", sum(1 for _ in each.shares) - 1, class_="number"),
                dim(_why(each.progress)),
            )
            for each in told
        ],
        "No promotion yet among the events shown.",
    )


def _why(progress: Progress) -> str:
    figures = progress.figures
    if figures is None:
        return progress.reason
    sides = [
        f"{name} {each.errors} errors in {each.requests} requests"
        + (f", p95 {seconds(each.p95_s)}" if each.p95_s is not None else "")
        for name, each in (("candidate", figures.candidate), ("current", figures.current))
    ]
    return f"{progress.reason} ({'; '.join(sides)})"


def _settings(place: Environment) -> Markup:
    groups: tuple[tuple[str, msgspec.Struct | None, str], ...] = (
        ("Autoscaling", place.autoscaling, "Not set: the current deployment keeps its own."),
        ("Promotion", place.promotion, ""),
        ("Requests", place.limits, ""),
    )
    return join([
        tag("details", tag("summary", name), fields({
            field.replace("_", " "): _value(getattr(each, field)) for field in each.__struct_fields__
        }) if each is not None else tag("p", unset, class_="empty"))
        for name, each, unset in groups
    ])  # fmt: skip


def _value(value: object) -> str:
    match value:
        case None:
            return "as the gateway's settings say"
        case bool():
            return "yes" if value else "no"
        case tuple():
            return "; ".join(str(each) for each in value) or "none"
        case _:
            return str(value)
