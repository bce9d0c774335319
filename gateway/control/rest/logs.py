"""Log lines of builds and replicas, newest first unless asked otherwise.

An environment's are those of every deployment that was promoted to it, each while it was there.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from heapq import merge
from itertools import islice
from typing import Any, Literal

import msgspec
from fastapi import APIRouter, Request

from events.base import DeploymentId
from events.signals.log_lines import BUILD, LEVELS, Level, LogLine
from gateway.control import bodies, find
from gateway.control.errors import invalid
from gateway.control.line_search import matching
from gateway.control.plane import Plane

LIMIT_MAX = 1000
SEARCHED_MAX = 20_000
"""A regular expression sees so many of the window's lines, the first ones in the order asked for."""
WINDOW_MS = 30 * 60 * 1000
WINDOW_MAX_MS = 7 * 24 * 3600 * 1000
NS_PER_MS = 1_000_000
_REPEATED = ("includes", "excludes")


class Query(msgspec.Struct):
    start_epoch_millis: int | None = None
    end_epoch_millis: int | None = None
    direction: Literal["asc", "desc"] | None = None
    limit: int | None = None
    min_level: str | None = None
    replica: str | None = None
    request_id: str | None = None
    component: str | None = None
    search_pattern: str | None = None
    includes: list[str] = []
    excludes: list[str] = []


class Span(msgspec.Struct, frozen=True):
    """What is asked of one deployment."""

    deployment_id: DeploymentId
    start_ns: int = 0
    end_ns: int | None = None

    def within(self, start_ns: int, end_ns: int) -> "Span":
        end_ns = end_ns if self.end_ns is None else min(end_ns, self.end_ns)
        return Span(self.deployment_id, max(start_ns, self.start_ns), end_ns)


def install(router: APIRouter, plane: Plane) -> None:
    @router.post("/v1/models/{model_id}/deployments/{which}/logs")
    async def query_logs(request: Request, model_id: str, which: str) -> Any:
        found = find.deployment(plane, model_id, which)
        return await _answer(plane, [Span(found.deployment_id)], await bodies.decode(request, Query))

    @router.get("/v1/models/{model_id}/deployments/{which}/logs")
    async def get_logs(request: Request, model_id: str, which: str) -> Any:
        found = find.deployment(plane, model_id, which)
        return await _answer(plane, [Span(found.deployment_id)], _from_query(request))

    @router.get("/v1/models/{model_id}/environments/{env_name}/logs")
    async def get_environment_logs(request: Request, model_id: str, env_name: str) -> Any:
        place = find.environment(plane, model_id, env_name)
        spans = [
            Span(each.deployment_id, _ns(each.since), None if each.until is None else _ns(each.until))
            for each in place.tenures
        ]
        return await _answer(plane, spans, _from_query(request))


def _from_query(request: Request) -> Query:
    given: dict[str, Any] = dict(request.query_params)
    given |= {name: request.query_params.getlist(name) for name in _REPEATED}
    try:
        return msgspec.convert(given, Query, strict=False)
    except msgspec.ValidationError as error:
        raise invalid(f"the query is wrong: {error}") from error


async def _answer(plane: Plane, spans: Sequence[Span], asked: Query) -> dict[str, Any]:
    end = asked.end_epoch_millis
    if end is None:
        end = int(plane.now().timestamp() * 1000) + 1
    start = end - WINDOW_MS if asked.start_epoch_millis is None else asked.start_epoch_millis
    if not 0 <= start <= end <= 1 << 43 or end - start > WINDOW_MAX_MS:
        message = "the window from start_epoch_millis to end_epoch_millis must go forward, by 7 days at most"
        raise invalid(message, "start_epoch_millis")
    limit = 500 if asked.limit is None else asked.limit
    if not 1 <= limit <= LIMIT_MAX:
        raise invalid(f"limit must be from 1 to {LIMIT_MAX}, not {limit}", "limit")
    clipped = [each.within(start * NS_PER_MS, end * NS_PER_MS) for each in spans]
    most = limit if asked.search_pattern is None else SEARCHED_MAX
    lines = await asyncio.to_thread(_lines, plane, clipped, asked, _level(asked.min_level), most)
    if asked.search_pattern is not None:
        lines = (await matching(asked.search_pattern, lines))[:limit]
    return {"logs": [_shown(line) for line in lines]}


def _lines(plane: Plane, spans: Sequence[Span], asked: Query, level: Level, most: int) -> list[LogLine]:
    newest_first = asked.direction != "asc"
    each = (
        plane.logs.query(
            span.deployment_id,
            start_ns=span.start_ns,
            end_ns=span.end_ns,
            min_level=level,
            source=_source(plane, span.deployment_id, asked),
            keep=_filter(asked),
            limit=most,
            newest_first=newest_first,
        )
        for span in spans
        if span.end_ns is not None and span.start_ns < span.end_ns
    )
    return list(islice(merge(*each, key=lambda line: line.ts_ns, reverse=newest_first), most))


def _ns(at: datetime) -> int:
    return int(at.timestamp() * 1000) * NS_PER_MS


def _level(text: str | None) -> Level:
    if text is None:
        return "debug"
    for level in LEVELS:
        if level == text.lower():
            return level
    raise invalid(f"min_level must be DEBUG, INFO, WARNING or ERROR, not {text!r}", "min_level")


def _source(plane: Plane, deployment_id: DeploymentId, asked: Query) -> str | None:
    """The file to read; None for all. A replica that never wrote has none, and gives no lines."""
    wanted = asked.replica if asked.replica is not None else BUILD if asked.component == "build" else None
    if wanted is None or wanted in plane.logs.sources(deployment_id):
        return wanted
    return BUILD if wanted == BUILD else "none"


def _filter(asked: Query) -> Callable[[LogLine], bool]:
    def keep(line: LogLine) -> bool:
        return (
            (asked.request_id is None or line.request_id == asked.request_id)
            and all(text in line.message for text in asked.includes)
            and not any(text in line.message for text in asked.excludes)
        )

    return keep


def _shown(line: LogLine) -> dict[str, Any]:
    return {
        "timestamp": str(line.ts_ns),
        "message": line.message,
        "replica": None if line.source == BUILD else line.source,
        "request_id": line.request_id,
        "level": "ERROR" if line.level == "critical" else line.level.upper(),
    }
