"""The audit trail over HTTP: pages by position, or all that matches as a stream of NDJSON or Parquet.

A page says where the next one begins, and where the one before it ends. Refused commands, with numbers of their own,
come with `refused=true`.
"""

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import datetime
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from events.base import Position
from gateway.control.errors import ApiError, invalid
from gateway.control.plane import Plane
from projections.audit import LAST, AuditQuery, AuditRow, RefusedRow
from projections.deployments import Catalogue
from projections.selection import no_such_type
from projections.stores.audit import AuditStore
from projections.stores.audit_exports import FORMS, PyarrowMissing, Row, pages, place
from projections.stores.audit_exports import asked as page_of

LIMIT, LIMIT_MAX = 100, 1000
STREAMED = {"application/x-ndjson": "ndjson", "application/vnd.apache.parquet": "parquet"}
"""Forms in which all that matches is sent, by what a client accepts."""
_TIME, _PLACE, _FLAG = "a time with its zone: 2026-11-21T19:30:00Z", "a whole number", "true or false"
_FIXES = {
    **{"since": _TIME, "until": _TIME, "after": _PLACE, "before": _PLACE, "limit": _PLACE, "min_position": _PLACE},
    **{"newest": _FLAG, "refused": _FLAG},
}


class Times(msgspec.Struct):
    since: datetime | None = None
    until: datetime | None = None


class Asked(Times, forbid_unknown_fields=True):
    actor: str | None = None
    type: list[str] = []
    entity: str | None = None
    correlation: str | None = None
    after: int | None = None
    before: int | None = None
    limit: int | None = None
    newest: bool = False
    refused: bool = False
    min_position: int | None = None
    """The door's: it has waited for it."""


def install(router: APIRouter, plane: Plane) -> None:
    @router.get("/v1/audit_logs")
    async def audit_logs(request: Request) -> Any:
        asked = _asked(request)
        accepts = request.headers.get("accept", "")
        media = next((each for each in STREAMED if each in accepts), None)
        query = _query(plane, asked, streamed=media is not None)
        store = _store(plane)
        if media is not None:
            return await _stream(store, query, asked.refused, media)
        rows = await page_of(store, query, asked.refused)
        answer = {"audit_logs": rows, "pagination": _around(rows, query)}
        return Response(msgspec.json.encode(answer), media_type="application/json")


def _asked(request: Request) -> Asked:
    given: dict[str, Any] = dict(request.query_params)
    if "type" in given:
        given["type"] = request.query_params.getlist("type")
    for name in given.keys() - {"type"}:
        if len(request.query_params.getlist(name)) > 1:
            raise invalid(f"{name} is given more than once", name, "of all parameters only type may be repeated")
    for name in sorted(given.keys() - set(Asked.__struct_fields__)):
        raise invalid(f"there is no parameter {name!r}", name, f"known are {', '.join(Asked.__struct_fields__)}")
    try:
        msgspec.convert(given, Times)  # strictly: a year alone would be taken for seconds since 1970
        asked = msgspec.convert(given, Asked, strict=False)
    except msgspec.ValidationError as error:
        field = str(error).partition(" - at `$.")[2].rstrip("`") or None
        raise invalid(f"{field} cannot be {given.get(field or '')!r}", field, _FIXES.get(field or "")) from error
    unknown = None if asked.refused else no_such_type(asked.type)
    if unknown is not None:
        raise invalid(f"there is no event type {unknown[0]!r}", "type", unknown[1])
    for field in ("since", "until"):
        time = getattr(asked, field)
        if time is not None and time.tzinfo is None:
            raise invalid(f"{field} must say its zone", field, _FIXES[field])
    for field, least in (("after", 0), ("before", 1)):
        given_place = getattr(asked, field)
        if given_place is not None and not least <= given_place <= LAST:
            raise invalid(f"{field} must be a position from {least} to {LAST}, not {given_place}", field)
    if asked.newest and asked.after is not None:
        raise invalid("newest gives the last rows, after the first ones behind a position: leave one out", "newest")
    return asked


def _query(plane: Plane, asked: Asked, streamed: bool) -> AuditQuery:
    most = 1 << 40 if streamed else LIMIT_MAX
    limit = asked.limit if asked.limit is not None else (most if streamed and not asked.newest else LIMIT)
    if not 1 <= limit <= most:
        raise invalid(f"limit must be from 1 to {most}, not {limit}; {' or '.join(STREAMED)} streams all", "limit")
    if streamed and asked.newest and limit > LIMIT_MAX:
        raise invalid(f"the newest ones come at once: limit must be from 1 to {LIMIT_MAX}, not {limit}", "limit")
    return AuditQuery(
        since=asked.since,
        until=asked.until,
        actor=asked.actor,
        types=tuple(asked.type),
        entity=_id_of(plane.catalogue, asked.entity),
        correlation=asked.correlation,
        after=Position(asked.after or 0),
        until_position=None if asked.before is None else Position(asked.before - 1),
        limit=limit,
        newest=asked.newest or (asked.before is not None and asked.after is None and not streamed),
    )


def _id_of(catalogue: Catalogue, entity: str | None) -> str | None:
    """Of a model or of a deployment that is named as iris/deployment-2; of anything else itself."""
    if entity is None:
        return None
    model_name, slash, name = entity.partition("/")
    model = catalogue.by_name(model_name)
    if model is None:
        return entity
    if not slash:
        return model.model_id
    return next((each for each in model.deployments if catalogue.deployments[each].name == name), entity)


def _store(plane: Plane) -> AuditStore:
    if plane.audit is None:
        raise ApiError(503, "this plane keeps no audit trail: set CAUSEWAY_POSTGRES_URL", code="audit_unavailable")
    return plane.audit


def _around(rows: tuple[Row, ...], query: AuditQuery) -> dict[str, Any]:
    """`has_more`: in the direction that was asked for."""
    end = Position((query.until_position or query.after) + 1)
    first, last = (place(rows[0]), place(rows[-1])) if rows else (end, query.after)
    return {"after": last, "before": first, "has_more": len(rows) == query.limit}


async def _stream(store: AuditStore, query: AuditQuery, refused: bool, media: str) -> Response:
    """A page at a time, so that any number of rows takes the memory of one page."""
    try:
        form = FORMS[STREAMED[media]](RefusedRow if refused else AuditRow)
    except PyarrowMissing as error:
        why = f"this plane has no {media}"
        raise ApiError(406, why, code="not_acceptable", field="Accept", fix=str(error)) from error
    rest = pages(store, query, refused, LIMIT_MAX)
    try:
        first = await anext(rest)  # its errors still have a status
    except StopAsyncIteration:
        first = ()

    async def parts() -> AsyncIterator[bytes]:
        async with aclosing(rest):  # type: ignore[type-var]
            if first:
                yield form.part(first)
            async for rows in rest:
                yield form.part(rows)
            yield form.end()

    return StreamingResponse(parts(), media_type=media)
