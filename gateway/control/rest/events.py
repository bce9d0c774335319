"""Events from the log: pages as JSON, or a stream of server-sent events that a client can resume where it was cut.

A stream keeps nothing for its client: it reads on when the client has taken what was sent. Every event carries its
position as `id`, heartbeats too, so that a filter that matches little does not make a resumed stream begin far back.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from events.base import ORIGIN, KeyId, Position
from events.codec import Recorded, event_type
from events.log import LogUnavailable
from gateway.cloudevent import cloudevent, encoded
from gateway.control.errors import invalid
from gateway.control.identity import visit_of
from gateway.control.plane import Plane
from gateway.control.subscriptions import Subscriptions
from gateway.numbers import whole
from projections.selection import Selection, no_such_type, selects

LIMIT, LIMIT_MAX = 100, 1000
SCANNED_MAX = 20_000
"""Events that one page looks through."""
HEARTBEAT_S = 15.0
LOOK_S = 1.0
"""How often a quiet stream looks whether its key is still valid, and its gateway stays."""
RETRY_MS = 1000
REPEATED = ("types", "entity")


class Query(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    after: int | None = None
    limit: int = LIMIT
    types: list[str] = []
    entity: list[str] = []
    correlation: str | None = None
    min_position: int | None = None
    """The door's: it has waited for it."""

    @property
    def selection(self) -> Selection:
        return Selection(tuple(self.types), tuple(self.entity), self.correlation or None)


def install(router: APIRouter, plane: Plane, subscriptions: Subscriptions) -> None:
    @router.get("/v1/events")
    async def events(request: Request) -> Response:
        query = _query(request)
        if "text/event-stream" in request.headers.get("accept", ""):
            after = _begin(request, query, plane.views.position)
            frames = _stream(plane, subscriptions, visit_of(request).caller.key_id, selects(query.selection), after)
            headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
            return StreamingResponse(frames, media_type="text/event-stream", headers=headers)
        page = await _page(plane, subscriptions, query)
        return Response(msgspec.json.encode(page), media_type="application/json")


def _query(request: Request) -> Query:
    given: dict[str, Any] = dict(request.query_params)
    for name in given:
        if name not in Query.__struct_fields__:
            raise invalid(f"there is no parameter {name!r}", name, f"known are {', '.join(Query.__struct_fields__)}")
        if name not in REPEATED and len(request.query_params.getlist(name)) > 1:
            raise invalid(f"{name} is given more than once", name, f"only {' and '.join(REPEATED)} may be repeated")
    for name in REPEATED:
        given[name] = [each for text in request.query_params.getlist(name) for each in text.split(",") if each]
    try:
        query = msgspec.convert(given, Query, strict=False)
    except msgspec.ValidationError as error:
        field = str(error).partition(" - at `$.")[2].rstrip("`")
        raise invalid(f"{field} cannot be {given[field][:40]!r}", field, "write a whole number such as 42") from error
    unknown = no_such_type(query.types)
    if unknown is not None:
        raise invalid(f"there is no event type {unknown[0]!r}; {unknown[1]}", "types")
    if not 1 <= query.limit <= LIMIT_MAX:
        raise invalid(f"limit must be 1 to {LIMIT_MAX}, not {query.limit}", "limit")
    return query


def _begin(request: Request, query: Query, head: Position) -> Position:
    """After which position a stream begins: what the client saw last counts most; with nothing said, from now on."""
    seen = request.headers.get("last-event-id")
    if seen is None:
        return head if query.after is None else _known(query.after, head, "after")
    number = whole(seen)
    if number is None:
        raise invalid(f"Last-Event-ID must be a position such as 42, not {seen[:40]!r}", "Last-Event-ID")
    return _known(number, head, "Last-Event-ID")


def _known(after: int, head: Position, field: str) -> Position:
    if not 0 <= after <= head:
        raise invalid(f"{field} must be a position from 0 to {head}, where the log ends, not {after}", field)
    return Position(after)


async def _page(plane: Plane, subscriptions: Subscriptions, query: Query) -> dict[str, Any]:
    head = plane.views.position
    position = ORIGIN if query.after is None else _known(query.after, head, "after")
    selected, found, scanned = selects(query.selection), list[Recorded](), 0
    while position < head and scanned < SCANNED_MAX and len(found) < query.limit:
        for recorded in await subscriptions.feed.read(position, Position(min(head, position + LIMIT_MAX))):
            position, scanned = recorded.position, scanned + 1
            if selected(recorded):
                found.append(recorded)
                if len(found) == query.limit:
                    break
    return {"events": [cloudevent(each) for each in found], "next_after": position, "head": head}


async def _stream(
    plane: Plane, subscriptions: Subscriptions, key_id: KeyId, selected: Callable[[Recorded], bool], after: Position
) -> AsyncIterator[bytes]:
    yield b"retry: %d\n\n" % RETRY_MS
    beat_at = time.monotonic() + HEARTBEAT_S
    while not subscriptions.ending() and key_id in plane.views.access.state.keys:
        batch = await upcoming(subscriptions, after)
        after = batch[-1].position if batch else after
        frames = b"".join(_frame(each) for each in batch if selected(each))
        if not frames and time.monotonic() >= beat_at:
            frames = b"id: %d\n: heartbeat\n\n" % after
        if frames:
            yield frames
            beat_at = time.monotonic() + HEARTBEAT_S


async def upcoming(subscriptions: Subscriptions, after: Position) -> tuple[Recorded, ...]:
    """What comes within LOOK_S, however long it then takes to read it; while the log is away, nothing."""
    try:
        async with asyncio.timeout(LOOK_S):
            await subscriptions.feed.beyond(after)
        return await subscriptions.feed.after(after)
    except TimeoutError:
        return ()
    except LogUnavailable:
        await asyncio.sleep(LOOK_S)
        return ()


def _frame(recorded: Recorded) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (
        recorded.position,
        event_type(recorded.event).encode(),
        encoded(recorded),
    )
