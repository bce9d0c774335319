"""The dashboard of a running plane: who may see it, and what it is made from.

Who signs in does so with an API key of the scope manage; the browser keeps it in a cookie that no script can read and
no other site can send.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from events.base import KeyId, Position
from events.signals.load_history import LoadHistory
from gateway.control import bodies
from gateway.control.plane import Plane
from gateway.control.rest.events import upcoming
from gateway.control.subscriptions import Subscriptions
from gateway.dashboard import frame
from gateway.dashboard.board import Board
from gateway.dashboard.moment import ROOT, World
from gateway.dashboard.routes import Entrance, Going, Ticks, html
from gateway.dashboard.routes import install as install_pages
from gateway.dashboard.sources import Files, Past, Sources
from gateway.keys import KeyRefused, bare, check
from projections.access import Access, Key

COOKIE = "causeway_key"
LOGIN_MAX_BYTES = 4096
Loads = Callable[[], AbstractAsyncContextManager[LoadHistory]]


def install(
    router: APIRouter, plane: Plane, subscriptions: Subscriptions, past: Past, loads: Loads | None, files: Files | None
) -> None:  # fmt: skip
    feed, views = subscriptions.feed, plane.views
    sources = Sources(
        now=plane.now,
        catch_up=plane.catch_up,
        world=lambda: World(views.catalogue.state, views.environments.state, views.fleet.state),
        weights=lambda: views.weights.state,
        head=lambda: views.position,
        past=past,
        read=feed.read,
        key_name=lambda key_id: _name_of(views.access.state, key_id),
        stale_for_s=plane.stale_for_s,
        audit=plane.audit,
        logs=plane.logs,
        loads=loads,
        files=files,
        webhooks=lambda: subscriptions.webhooks.state,
        deliveries=subscriptions.deliveries,
    )

    def visitor(request: Request) -> Going | None:
        cookie = request.cookies.get(COOKIE)
        try:
            key = _check(plane, request.headers.get("authorization") or (bare(cookie) if cookie else None))
        except KeyRefused:
            return None
        return lambda: not subscriptions.ending() and key.key_id in views.access.state.keys

    async def next_after(position: int) -> int:
        await upcoming(subscriptions, Position(position))
        return max(position, feed.head)

    _sessions(router, plane)
    install_pages(router, Board(sources), Entrance(visitor, signs_in=True), Ticks(next_after))


def _name_of(access: Access, key_id: str) -> str:
    known = access.keys.get(KeyId(key_id))
    return "" if known is None else known.name


def _check(plane: Plane, presented: str | None) -> Key:
    """Raises KeyRefused."""
    return check(plane.views.access.state, presented, "manage")


def _sessions(router: APIRouter, plane: Plane) -> None:
    @router.get(ROOT + "/login")
    async def ask(request: Request) -> Response:
        return html(frame.login(None, _local(request.query_params.get("to"))))

    @router.post(ROOT + "/login")
    async def login(request: Request) -> Response:
        given = parse_qs((await bodies.read(request, LOGIN_MAX_BYTES)).decode(errors="replace"))
        key, to = given.get("key", [""])[0].strip(), _local(given.get("to", [""])[0])
        try:
            _check(plane, bare(key))
        except KeyRefused as refused:
            return html(frame.login(refused.reason, to), refused.status)
        answer = RedirectResponse(to, 303)
        secure = request.headers.get("x-forwarded-proto", request.url.scheme) == "https"
        answer.set_cookie(COOKIE, key, path=ROOT, httponly=True, samesite="strict", secure=secure)
        return answer

    @router.post(ROOT + "/logout")
    async def logout() -> Response:
        answer = RedirectResponse(f"{ROOT}/login", 303)
        answer.delete_cookie(COOKIE, path=ROOT)
        return answer


def _local(to: str | None) -> str:
    """Only to pages of ours."""
    fine = to is not None and (to == ROOT or to.startswith((f"{ROOT}/", f"{ROOT}?")))
    return to if to is not None and fine and "\\" not in to and to.isprintable() else ROOT
