"""The what-if page: the settings that are asked for, the load there was, and both sides replayed."""

import asyncio
from collections.abc import Mapping
from datetime import datetime

import msgspec

from events.base import Position
from events.scaling import AutoscalingSettings
from events.signals.load_history import Moment as Load
from gateway.control.errors import ApiError
from gateway.control.settings import changed
from gateway.dashboard.board import Board, Page
from gateway.dashboard.chart import story
from gateway.dashboard.deployment_page import SPANS, begin_of
from gateway.dashboard.markup import Markup, tag
from gateway.dashboard.moment import Moment
from gateway.dashboard.recorded import recorded
from gateway.dashboard.sources import Refusal
from gateway.dashboard.whatif_page import NUMBERS, Asked, Rehearsed, whatif
from gateway.dashboard.words import notice
from gateway.numbers import whole
from handlers.base import Refused
from handlers.deciders.settings import check_settings
from handlers.whatif import START_S, Outcome, rehearse
from projections.audit import AuditQuery
from projections.base import fold
from projections.cold_starts import COLD_STARTS, anatomy
from projections.deployments import DEPLOYMENTS, Deployment

STARTS = 50
RECORDS_MAX = 1080
"""Three busy hours: the replay runs in a process that also serves requests."""


class Known(msgspec.Struct, frozen=True):
    """The deployment at the beginning."""

    settings: AutoscalingSettings
    target: int


async def page(board: Board, deployment_id: str, moment: Moment, asked: Mapping[str, str]) -> Page:
    world, found = await board.found(deployment_id, moment)
    span = asked.get("span", "1h")
    if span not in SPANS:
        raise Refusal(400, f"span must be one of {', '.join(SPANS)}, not {span[:40]!r}")
    begin = begin_of(span, moment)
    known = await _known(board, found, begin, moment)
    form = Asked(span, known.settings, asked)
    told: Rehearsed | Markup
    try:
        settings = settings_of(known.settings, asked)
        told = await _rehearsed(board, found, known, settings, begin, moment)
    except Refused as refused:
        told = notice(refused.reason, "bad")
    except _NothingToReplay as nothing:
        told = tag("p", str(nothing), class_="empty")
    return f"What if: {found.name}", whatif(world, found, form, told, moment)


class _NothingToReplay(Exception):
    """And why."""


def settings_of(now: AutoscalingSettings, asked: Mapping[str, str]) -> AutoscalingSettings:
    """Raises Refused, naming the field."""
    given = {name: asked[name] for name in NUMBERS if name in asked}
    for name, text in given.items():
        if whole(text.removeprefix("-")) is None:
            raise Refused("invalid", f"{name} must be a whole number, not {text[:40]!r}", name)
    try:
        other = changed(now, {name: int(text) for name, text in given.items()})
    except ApiError as error:
        raise Refused("invalid", str(error), error.problem.field) from error
    check_settings(other)
    return other


async def _known(board: Board, found: Deployment, begin: datetime, moment: Moment) -> Known:
    """Before it was pushed: no replicas, and the settings that it has now."""
    query = AuditQuery(
        entity=found.deployment_id, until=begin, until_position=moment.position, newest=True, limit=1
    )  # fmt: skip
    before = (await board.sources.rows(query)).rows
    if before:
        (catalogue,) = await board.sources.at((DEPLOYMENTS,), Position(before[0].position))
        then = catalogue.deployments.get(found.deployment_id)
        if then is not None:
            return Known(then.settings, then.target)
    return Known(found.settings, 0)


async def _rehearsed(
    board: Board, found: Deployment, known: Known, settings: AutoscalingSettings, begin: datetime, moment: Moment
) -> Rehearsed:
    end = moment.until
    loads = await board.sources.load(found.deployment_id, begin, end)
    if loads is None:
        where = "a capsule has none" if moment.source else "NATS, which keeps it for 14 days, does not answer"
        raise _NothingToReplay(f"The record of load cannot be read: {where}.")
    if not loads:
        raise _NothingToReplay("No load of this deployment was recorded in this time.")
    if len(loads) > RECORDS_MAX:
        busy = f"{len(loads)} busy spans of 10 s are more than the {RECORDS_MAX} that a page replays"
        raise _NothingToReplay(f"{busy}: ask for less, or use causeway whatif {found.deployment_id}.")
    rows = (await board.about(found.deployment_id, moment)).rows
    starts = anatomy(fold(COLD_STARTS, recorded(rows)).starts.get(found.deployment_id, {}), STARTS)
    start_s = starts.p50_s if starts.starts else START_S
    as_set = await _side(known.settings, known, loads, begin, end, start_s)
    other = as_set if settings == known.settings else await _side(settings, known, loads, begin, end, start_s)
    told = story(rows, begin, found.count("ready"), found.target)
    ran = ((begin.timestamp(), float(told.ready_before)), *((at.timestamp(), float(count)) for at, count in told.ready))
    return Rehearsed(begin, end, loads, ran, start_s, starts.starts, as_set, other)


async def _side(
    settings: AutoscalingSettings, known: Known, loads: list[Load], begin: datetime, end: datetime, start_s: float
) -> Outcome:
    return await asyncio.to_thread(
        rehearse, settings, loads, begin.timestamp(), end.timestamp(), known.target, start_s
    )  # fmt: skip
