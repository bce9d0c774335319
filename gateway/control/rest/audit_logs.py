"""The audit trail over HTTP: pages by position, or all that matches as a stream of NDJSON.

A page says where the next one begins. Refused commands, with numbers of their own, come with `refused=true`.
"""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from events.base import Position
from gateway.control.errors import ApiError, invalid
from gateway.control.plane import Plane
from projections.audit import AuditQuery, AuditRow, RefusedRow
from projections.selection import no_such_type
from projections.stores.audit import AuditStore

LIMIT, LIMIT_MAX = 100, 1000
NDJSON = "application/x-ndjson"
Row = AuditRow | RefusedRow


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    since: datetime | None = None
    until: datetime | None = None
    actor: str | None = None
    type: list[str] = []
    entity: str | None = None
    correlation: str | None = None
    after: int | None = None
    limit: int | None = None
    newest: bool = False
    refused: bool = False
    min_position: int | None = None
    """The door's: it has waited for it."""


def install(router: APIRouter, plane: Plane) -> None:
    @router.get("/v1/audit_logs")
    async def audit_logs(request: Request) -> Any:
        asked = _asked(request)
        streamed = NDJSON in request.headers.get("accept", "")
        query = _query(plane, asked, streamed)
        store = _store(plane)
        if streamed:
            return await _stream(store, query, asked)
        rows = await _page(store, query, asked.refused)
        last = _place(rows[-1]) if rows else query.after
        answer = {"audit_logs": rows, "pagination": {"after": last, "has_more": len(rows) == query.limit}}
        return Response(msgspec.json.encode(answer), media_type="application/json")


def _asked(request: Request) -> Asked:
    given: dict[str, Any] = dict(request.query_params)
    if "type" in given:
        given["type"] = request.query_params.getlist("type")
    try:
        asked = msgspec.convert(given, Asked, strict=False)
    except msgspec.ValidationError as error:
        place = str(error).partition(" - at `")[2]
        raise invalid(f"the query is wrong: {error}", place.rstrip("`").removeprefix("$.") or None) from error
    unknown = None if asked.refused else no_such_type(asked.type)
    if unknown is not None:
        raise invalid(f"there is no event type {unknown[0]!r}; {unknown[1]}", "type")
    for field in ("since", "until"):
        time = getattr(asked, field)
        if time is not None and time.tzinfo is None:
            raise invalid(f"{field} must say its zone, for example 2026-11-21T19:30:00Z", field)
    if asked.after is not None and asked.after < 0:
        raise invalid(f"after must be a position, 0 or more, not {asked.after}", "after")
    if asked.newest and asked.after is not None:
        raise invalid("newest gives the last rows, after the first ones behind a position: leave one out", "newest")
    return asked


def _query(plane: Plane, asked: Asked, streamed: bool) -> AuditQuery:
    most = 1 << 40 if streamed else LIMIT_MAX
    limit = asked.limit if asked.limit is not None else (most if streamed and not asked.newest else LIMIT)
    if not 1 <= limit <= most:
        raise invalid(f"limit must be from 1 to {most}, not {limit}; {NDJSON} streams all", "limit")
    if streamed and asked.newest and limit > LIMIT_MAX:
        raise invalid(f"the newest ones come at once: limit must be from 1 to {LIMIT_MAX}, not {limit}", "limit")
    models = plane.catalogue.models.values()
    entity = next((str(each.model_id) for each in models if each.name == asked.entity), asked.entity)
    return AuditQuery(
        since=asked.since,
        until=asked.until,
        actor=asked.actor,
        types=tuple(asked.type),
        entity=entity,
        correlation=asked.correlation,
        after=Position(asked.after or 0),
        limit=limit,
        newest=asked.newest,
    )


def _store(plane: Plane) -> AuditStore:
    if plane.audit is None:
        raise ApiError(503, "this plane keeps no audit trail: set CAUSEWAY_POSTGRES_URL", code="audit_unavailable")
    return plane.audit


async def _page(store: AuditStore, query: AuditQuery, refused: bool) -> tuple[Row, ...]:
    return await (store.page_refused(query) if refused else store.page(query))


def _place(row: Row) -> int:
    return row.position if isinstance(row, AuditRow) else row.number


async def _stream(store: AuditStore, query: AuditQuery, asked: Asked) -> Response:
    """A page at a time, so that any number of rows takes the memory of one page."""
    first = await _page(store, _next(query, query.after, query.limit), asked.refused)  # its errors still have a status

    async def lines() -> AsyncIterator[bytes]:
        rows, left = first, query.limit
        while rows:
            yield b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
            left -= len(rows)
            if query.newest or left <= 0 or len(rows) < LIMIT_MAX:
                return
            rows = await _page(store, _next(query, _place(rows[-1]), left), asked.refused)

    return StreamingResponse(lines(), media_type=NDJSON)


def _next(query: AuditQuery, after: int, left: int) -> AuditQuery:
    return msgspec.structs.replace(query, after=Position(after), limit=min(left, LIMIT_MAX))
