"""The dashboard's routes. Read only: what changes the plane goes by the API and the command line.

Who signs in does so with an API key of the scope manage; the browser keeps it in a cookie that no script can read and
no other site can send. Every page takes `?at=POSITION` and then shows the plane as it was there.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib import resources
from typing import Any
from urllib.parse import parse_qs, quote

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse

from events.base import DeploymentId, KeyId, Position
from gateway.control import bodies
from gateway.control.errors import ApiError
from gateway.control.plane import Plane
from gateway.control.rest.events import upcoming
from gateway.control.subscriptions import Subscriptions
from gateway.dashboard import frame, pages
from gateway.dashboard.markup import Markup
from gateway.keys import KeyRefused, bare, check
from projections.access import Key
from projections.audit import AuditQuery, AuditRow
from projections.base import Projection
from projections.deployments import DEPLOYMENTS
from projections.environments import ENVIRONMENTS
from projections.fleet import FLEET
from projections.stores.audit import AuditUnavailable

Past = Callable[[Projection[Any], Position], Awaitable[Any]]
"""The state of a fold at a position."""

COOKIE = "causeway_key"
LOGIN_MAX_BYTES = 4096
ROWS, CHART_ROWS = 100, 1000
LIVE_EVERY_S = 1.0
FILTERS = ("types", "entity", "actor", "correlation")
STATIC = {"style.css": "text/css; charset=utf-8", "script.js": "text/javascript; charset=utf-8"}


class Refusal(Exception):
    """A page that cannot be shown, and why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Board:
    def __init__(self, plane: Plane, subscriptions: Subscriptions, past: Past) -> None:
        self._plane, self._past = plane, past
        self.subscriptions = subscriptions

    def visitor(self, request: Request) -> Key | None:
        cookie = request.cookies.get(COOKIE)
        presented = request.headers.get("authorization") or (bare(cookie) if cookie else None)
        try:
            return self.check(presented)
        except KeyRefused:
            return None

    def check(self, presented: str | None) -> Key:
        """Raises KeyRefused."""
        return check(self._plane.views.access.state, presented, "manage")

    @property
    def head(self) -> Position:
        return self._plane.views.position

    def valid(self, key_id: KeyId) -> bool:
        return key_id in self._plane.views.access.state.keys

    async def moment(self, request: Request) -> pages.Moment:
        await self._plane.catch_up()
        head, asked = self._plane.views.position, request.query_params.get("at")
        if asked is None or asked == "":
            return pages.Moment(head, head, fixed=False)
        if not (asked.isascii() and asked.isdigit() and int(asked) <= head):
            raise Refusal(400, f"at must be a position from 0 to {head}, where the log ends, not {asked[:40]!r}")
        return pages.Moment(Position(int(asked)), head, fixed=True)

    async def world(self, moment: pages.Moment) -> pages.World:
        if not moment.fixed:
            views = self._plane.views
            return pages.World(views.catalogue.state, views.environments.state, views.fleet.state)
        folds: tuple[Projection[Any], ...] = (DEPLOYMENTS, ENVIRONMENTS, FLEET)
        return pages.World(*[await self._past(fold, moment.position) for fold in folds])

    async def rows(self, **query: Any) -> tuple[AuditRow, ...]:
        if self._plane.audit is None:
            raise Refusal(503, "this plane keeps no audit trail, which events are shown from")
        try:
            return await self._plane.audit.page(AuditQuery(**query))
        except AuditUnavailable as away:
            raise Refusal(503, f"the audit trail, which events are shown from, is away: {away}") from away

    async def overview(self, moment: pages.Moment) -> tuple[str, Markup]:
        return "Plane", pages.overview(await self.world(moment), moment)

    async def deployment(self, deployment_id: str, moment: pages.Moment) -> tuple[str, Markup]:
        world = await self.world(moment)
        found = world.catalogue.deployments.get(DeploymentId(deployment_id))
        if found is None:
            raise Refusal(404, f"there is no deployment {deployment_id} at position {moment.position}")
        rows = await self.rows(
            entity=deployment_id, until_position=moment.position, newest=True, limit=CHART_ROWS
        )  # fmt: skip
        return found.name, pages.deployment(world, found, rows, moment, self._plane.now())

    async def events(self, filters: dict[str, str], moment: pages.Moment) -> tuple[str, Markup]:
        rows = await self.rows(
            types=tuple(each.strip() for each in filters.get("types", "").split(",") if each.strip()),
            entity=filters.get("entity"),
            actor=filters.get("actor"),
            correlation=filters.get("correlation"),
            until_position=moment.position,
            newest=True,
            limit=ROWS,
        )
        return "Events", pages.events(rows, filters, ROWS, moment)

    async def event(self, position: str, moment: pages.Moment) -> tuple[str, Markup]:
        number = int(position) if position.isascii() and position.isdigit() else 0
        rows = await self.rows(after=Position(number - 1), until_position=Position(number)) if number else ()
        if not rows:
            raise Refusal(404, f"there is no event at position {position[:40]}; the log ends at {moment.head}")
        [row] = rows
        chain = await self.rows(correlation=row.correlation_id, limit=CHART_ROWS)
        cause = next((each for each in chain if each.event_id == row.causation_id), None)
        effects = [each for each in chain if each.causation_id == row.event_id]
        return f"#{position}", pages.event(row, cause, effects, moment)


def install(router: APIRouter, plane: Plane, subscriptions: Subscriptions, past: Past) -> None:
    board = Board(plane, subscriptions, past)
    _sessions(router, board)
    _pages(router, board)
    _rest(router, board)


def _sessions(router: APIRouter, board: Board) -> None:
    @router.get("/dashboard/login")
    async def ask(request: Request) -> Response:
        return _html(frame.login(None, _local(request.query_params.get("to"))))

    @router.post("/dashboard/login")
    async def login(request: Request) -> Response:
        given = parse_qs((await bodies.read(request, LOGIN_MAX_BYTES)).decode(errors="replace"))
        key, to = given.get("key", [""])[0].strip(), _local(given.get("to", [""])[0])
        try:
            board.check(bare(key))
        except KeyRefused as refused:
            return _html(frame.login(refused.reason, to), refused.status)
        answer = RedirectResponse(to, 303)
        secure = request.headers.get("x-forwarded-proto", request.url.scheme) == "https"
        answer.set_cookie(COOKIE, key, path="/dashboard", httponly=True, samesite="strict", secure=secure)
        return answer

    @router.post("/dashboard/logout")
    async def logout() -> Response:
        answer = RedirectResponse("/dashboard/login", 303)
        answer.delete_cookie(COOKIE, path="/dashboard")
        return answer


def _pages(router: APIRouter, board: Board) -> None:
    @router.get("/dashboard")
    async def overview(request: Request) -> Response:
        return await _shown(request, board, "", board.overview)

    @router.get("/dashboard/deployments/{deployment_id}")
    async def deployment(request: Request, deployment_id: str) -> Response:
        path = f"/deployments/{quote(deployment_id, safe='')}"
        return await _shown(request, board, path, lambda moment: board.deployment(deployment_id, moment))

    @router.get("/dashboard/events")
    async def events(request: Request) -> Response:
        filters = {name: value for name in FILTERS if (value := request.query_params.get(name))}
        return await _shown(request, board, "/events", lambda moment: board.events(filters, moment), filters)

    @router.get("/dashboard/events/{position}")
    async def event(request: Request, position: str) -> Response:
        path = f"/events/{quote(position, safe='')}"
        return await _shown(request, board, path, lambda moment: board.event(position, moment))


def _rest(router: APIRouter, board: Board) -> None:
    @router.get("/dashboard/live")
    async def live(request: Request) -> Response:
        key = board.visitor(request)
        if key is None:
            raise ApiError(401, "sign in first", code="unauthorized")
        return StreamingResponse(_ticks(board, key.key_id), media_type="text/event-stream")

    @router.get("/dashboard/{name}")
    async def static(name: str) -> Response:
        if name not in STATIC:
            raise ApiError(404, f"there is no page {name!r}", code="not_found")
        content = (resources.files("gateway.dashboard") / "static" / name).read_bytes()
        return Response(content, media_type=STATIC[name], headers={"Cache-Control": "no-cache"})


async def _shown(
    request: Request,
    board: Board,
    path: str,
    content: Callable[[pages.Moment], Awaitable[tuple[str, Markup]]],
    kept: dict[str, str] | None = None,
) -> Response:
    if board.visitor(request) is None:
        to = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/dashboard/login?to={quote(to, safe='')}", 303)
    head = board.head
    moment = pages.Moment(head, head, fixed=False)
    try:
        moment = await board.moment(request)
        title, inner = await content(moment)
    except Refusal as refused:
        return _html(frame.problem("Not shown", str(refused), moment), refused.status)
    return _html(frame.page(title, inner, moment, path, kept or {}))


def _html(text: str, status: int = 200) -> Response:
    headers = {
        "Content-Security-Policy": frame.POLICY,
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }
    return HTMLResponse(text, status, headers)


def _local(to: str | None) -> str:
    """Only to pages of ours."""
    fine = to is not None and (to == "/dashboard" or to.startswith(("/dashboard/", "/dashboard?")))
    return to if to is not None and fine and "\\" not in to and to.isprintable() else "/dashboard"


async def _ticks(board: Board, key_id: KeyId) -> AsyncIterator[bytes]:
    """A word whenever something has happened, once a second at most."""
    feed, after = board.subscriptions.feed, board.head
    yield b": here\n\n"
    while not board.subscriptions.ending() and board.valid(key_id):
        if await upcoming(board.subscriptions, after):
            after = max(after, feed.head)
            yield b"data: %d\n\n" % after
            await asyncio.sleep(LIVE_EVERY_S)
        else:
            yield b": quiet\n\n"
