"""The dashboard's routes. Read only: what changes the plane goes by the API and the command line.

Every page takes `?at=POSITION` and then shows the plane as it was there. Who may see them is the caller's to say: a
plane asks for a key, a capsule is open on the machine of who opened it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from importlib import resources
from urllib.parse import quote, urlencode

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse

from gateway.control.errors import ApiError
from gateway.dashboard import frame, rehearsal, tail
from gateway.dashboard.board import Asked, Board, Page, time_of
from gateway.dashboard.moment import ROOT, Moment, deployment_path, environment_path, weights_path
from gateway.dashboard.sources import Refusal, Sources
from gateway.dashboard.webhooks_page import webhook_path
from gateway.dashboard.whatif_page import NUMBERS
from gateway.numbers import whole

STATIC = {
    "style.css": "text/css; charset=utf-8",
    "script.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
LIVE_EVERY_S = 1.0
FILTERS = (*("types", "entity", "actor", "correlation", "since", "until"), "what", "before")
Going = Callable[[], bool]


class Entrance(msgspec.Struct, frozen=True):
    """Who may see the pages."""

    visitor: Callable[[Request], Going | None]
    """Whether who asks still may; None: he may not."""
    signs_in: bool
    """Who may not is asked for a key."""


class Desk:
    """Shows pages to who may see them."""

    def __init__(self, board: Board, entrance: Entrance) -> None:
        self.board, self.entrance = board, entrance

    async def show(
        self,
        request: Request,
        path: str,
        kept: tuple[str, ...],
        page: Callable[[Moment, Asked], Awaitable[Page]],
        *,
        live: bool = True,
    ) -> Response:
        """`kept`: what of the query stays when the moment is moved. `live`: it is fetched again when something
        has happened.
        """
        if self.entrance.visitor(request) is None:
            to = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            return RedirectResponse(f"{ROOT}/login?to={quote(to, safe='')}", 303)
        asked = {name: value for name, value in request.query_params.items() if name != "at" and value}
        carried = {name: asked[name] for name in kept if name in asked}
        moment, at = None, request.query_params.get("at")
        try:
            if at and not (at.isascii() and at.isdigit()):
                return await self._at_time(request, path, at)
            moment = await self.board.sources.moment(at)
            title, content = await page(moment, asked)
        except Refusal as refused:
            return await self._problem(refused, moment, path, carried)
        return html(frame.page(title, content, moment, path, carried, sign_out=self.entrance.signs_in, live=live))

    async def _at_time(self, request: Request, path: str, text: str) -> Response:
        """The address of a moment has its position, which means the same for ever. Raises Refusal."""
        position = await self.board.sources.last_by(time_of("at", text.strip(), "a position, or a time"))
        kept = {name: value for name, value in request.query_params.items() if value} | {"at": str(position)}
        return RedirectResponse(f"{ROOT}{path}?{urlencode(kept)}", 303)

    async def _problem(
        self, refused: Refusal, moment: Moment | None, path: str, kept: dict[str, str]
    ) -> Response:  # fmt: skip
        """The way to other moments stays: what is not there now may have been, or may come."""
        shown = moment or await self.board.sources.moment(None)
        content = frame.problem(refused, shown)
        text = frame.page("Not shown", content, shown, path, kept, sign_out=self.entrance.signs_in, live=False)
        return html(text, refused.status)

    def admitted(self, request: Request) -> Going:
        going = self.entrance.visitor(request)
        if going is None:
            raise ApiError(401, "sign in first", code="unauthorized")
        return going


def install(router: APIRouter, board: Board, entrance: Entrance, ticks: "Ticks | None" = None) -> None:
    """`ticks`: says when something has happened; None: nothing will."""
    desk = Desk(board, entrance)
    _pages(router, desk)
    _deployments(router, desk)
    if ticks is not None:
        _live(router, desk, ticks)

    @router.get(ROOT + "/{name:path}")
    async def static(request: Request, name: str) -> Response:
        if not name:
            return RedirectResponse(ROOT, 303)
        if name not in STATIC:
            return await desk.show(request, "", (), partial(_no_page, name))
        content = (resources.files("gateway.dashboard") / "static" / name).read_bytes()
        return Response(content, media_type=STATIC[name], headers={"Cache-Control": "no-cache"})


async def _no_page(name: str, moment: Moment, asked: Asked) -> Page:
    raise Refusal(404, f"there is no page {name[:80]!r}")


def _pages(router: APIRouter, desk: Desk) -> None:
    board = desk.board

    @router.get(ROOT)
    async def plane(request: Request) -> Response:
        return await desk.show(request, "", ("find",), board.plane)

    @router.get(ROOT + "/events")
    async def events(request: Request) -> Response:
        return await desk.show(request, "/events", FILTERS, board.events)

    @router.get(ROOT + "/events/{position}")
    async def event(request: Request, position: str) -> Response:
        path = f"/events/{quote(position, safe='')}"
        return await desk.show(request, path, (), lambda moment, asked: board.event(position, moment, asked))

    @router.get(ROOT + "/audit")
    async def audit(request: Request) -> Response:
        return await desk.show(request, "/audit", FILTERS, board.audit)

    @router.get(ROOT + "/weights")
    async def weights(request: Request) -> Response:
        return await desk.show(request, "/weights", ("find",), board.weights)

    @router.get(ROOT + "/weights/{manifest_id}")
    async def manifest(request: Request, manifest_id: str) -> Response:
        path = weights_path(manifest_id)
        return await desk.show(request, path, (), lambda *asked: board.manifest(manifest_id, *asked))

    @router.get(ROOT + "/webhooks")
    async def webhooks(request: Request) -> Response:
        return await desk.show(request, "/webhooks", (), board.webhooks)

    @router.get(ROOT + "/webhooks/{webhook_id}")
    async def webhook(request: Request, webhook_id: str) -> Response:
        path = webhook_path(webhook_id)
        return await desk.show(request, path, (), lambda *asked: board.webhook(webhook_id, *asked))

    @router.get(ROOT + "/environments")
    async def environments(request: Request) -> Response:
        return await desk.show(request, "/environments", ("find",), board.environments)

    @router.get(ROOT + "/environments/{model_id}/{name}")
    async def environment(request: Request, model_id: str, name: str) -> Response:
        path = environment_path(model_id, name)
        return await desk.show(request, path, (), lambda *asked: board.environment(model_id, name, *asked))


def _deployments(router: APIRouter, desk: Desk) -> None:
    board, one = desk.board, ROOT + "/deployments/{deployment_id}"

    @router.get(one)
    async def deployment(request: Request, deployment_id: str) -> Response:
        path = deployment_path(deployment_id)
        return await desk.show(request, path, ("span",), lambda *asked: board.deployment(deployment_id, *asked))

    @router.get(one + "/logs")
    async def logs(request: Request, deployment_id: str) -> Response:
        path, kept = deployment_path(deployment_id, "/logs"), ("source", "level", "contains")
        return await desk.show(request, path, kept, lambda *asked: board.logs(deployment_id, *asked), live=False)

    @router.get(one + "/whatif")
    async def whatif(request: Request, deployment_id: str) -> Response:
        path, kept = deployment_path(deployment_id, "/whatif"), ("span", *NUMBERS)
        shown = partial(rehearsal.page, board, deployment_id)
        return await desk.show(request, path, kept, shown, live=False)

    @router.get(one + "/logs/tail")
    async def follow(request: Request, deployment_id: str) -> Response:
        going, files = desk.admitted(request), board.sources.logs
        try:
            moment = await board.sources.moment(None)
            _, found = await board.found(deployment_id, moment)
            asked = {name: value for name, value in request.query_params.items() if value}
            after = request.headers.get("last-event-id") or asked.get("after", "0")
            tail.wanted_by(asked)
        except Refusal as refused:
            raise ApiError(refused.status, str(refused)) from refused
        after_ns = whole(after)
        if files is None or after_ns is None:
            raise ApiError(400, f"after must be a time in nanoseconds, not {after[:40]!r}", field="after")
        return _stream(tail.lines(files, found.deployment_id, asked, after_ns, going))


class Ticks(msgspec.Struct, frozen=True):
    """How a page hears that something has happened."""

    next: Callable[[int], Awaitable[int]]
    """After a position: a later one, or the same when nothing has come in a while."""


def _live(router: APIRouter, desk: Desk, ticks: Ticks) -> None:
    @router.get(ROOT + "/live")
    async def live(request: Request) -> Response:
        going, after = desk.admitted(request), request.query_params.get("after", "")
        seen = int(after) if after.isascii() and after.isdigit() else desk.board.sources.head()
        return _stream(_said(ticks, seen, desk.board.sources, going))


async def _said(ticks: Ticks, after: int, sources: Sources, going: Going) -> AsyncIterator[bytes]:
    """A word whenever something has happened, or the log was lost or found again; once a second at most."""
    lost = sources.stale_for_s() is not None
    yield b": here\n\n"
    while going():
        reached, was_lost = await ticks.next(after), lost
        lost = sources.stale_for_s() is not None
        if reached > after or lost != was_lost:
            after = max(after, reached)
            yield b"data: %d\n\n" % after
            await asyncio.sleep(LIVE_EVERY_S)
        else:
            yield tail.QUIET


def _stream(frames: AsyncIterator[bytes]) -> Response:
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(frames, media_type="text/event-stream", headers=headers)


def html(text: str, status: int = 200) -> Response:
    headers = {
        "Content-Security-Policy": frame.POLICY,
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }
    return HTMLResponse(text, status, headers)
