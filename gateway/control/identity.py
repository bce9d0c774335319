"""The door: nobody passes without an API key, except to /healthz, to /s3/, which its signatures protect, and to the
dashboard, which asks for the key itself.

A pure ASGI layer in front of every route, so that no route can forget it. It also lets a read demand a position
(`?min_position=` or X-Causeway-Min-Position) and tells each answer's position and request id.
"""

import msgspec
from fastapi import Request
from fastapi.responses import Response
from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from events.base import CommandId, CorrelationId, Position, derive
from events.signals.refusals import Refusal
from gateway.control.errors import ApiError, answer_error, invalid
from gateway.control.plane import Plane, Visit, actor_of
from gateway.keys import HOW, KeyRefused, check, identify
from gateway.numbers import whole
from projections.access import Key

DASHBOARD = "/dashboard"
"""Its pages ask for the key themselves, in words that a browser shows."""
OPEN = ("/healthz", "/s3/", f"{DASHBOARD}/")
MIN_POSITION_DEADLINE_S = 10.0
PATH_MAX = 200


class Door:
    def __init__(self, app: ASGIApp, plane: Plane) -> None:
        self._app, self._plane = app, plane

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008, "reason": "no WebSockets here"})
            return
        path: str = scope["path"]
        if path in (OPEN[0], DASHBOARD) or path.startswith(OPEN[1:]):
            await self._app(scope, receive, send)
            return
        try:
            visit = await self._admit(scope)
        except ApiError as error:
            await _refusal(path, error)(scope, receive, send)
            return
        scope.setdefault("state", {})["visit"] = visit

        async def send_signed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = visit.id
                headers["X-Causeway-Position"] = str(visit.written or self._plane.views.position)
            await send(message)

        await self._app(scope, receive, send_signed)

    async def _admit(self, scope: Scope) -> Visit:
        headers = Headers(scope=scope)
        try:
            key = check(self._plane.views.access.state, headers.get("authorization"), "manage")
        except KeyRefused as refused:
            code = "unauthorized" if refused.status == 401 else "forbidden"
            known = identify(self._plane.views.access.state, headers.get("authorization"))
            if known is not None:  # Of nobody known there would be no end.
                await self._plane.dispatch.keep(self._refusal_of(known, refused, scope["method"], scope["path"]))
            raise ApiError(refused.status, refused.reason, code=code, fix=HOW) from refused
        wanted = QueryParams(scope["query_string"]).get("min_position") or headers.get("x-causeway-min-position")
        if wanted is not None:
            await self._wait(wanted)
        else:
            await self._plane.catch_up()
        return Visit(self._plane, key, headers.get("idempotency-key"))

    def _refusal_of(self, key: Key, refused: KeyRefused, method: str, path: str) -> Refusal:
        """The same try by the same key is told once an hour."""
        at = self._plane.now()
        tried = derive("tried", key.key_id, method, path, f"{at:%Y-%m-%d %H}", length=24)
        return Refusal(
            id=tried,
            at=at,
            command=method,
            category="request",
            entity=path[:PATH_MAX],
            actor=actor_of(key),
            kind="forbidden",
            reason=refused.reason,
            field=None,
            correlation_id=CorrelationId(tried),
            causation_id=None,
            command_id=CommandId(tried),
            position=self._plane.views.position,
            body="{}",
        )

    async def _wait(self, wanted: str) -> None:
        number = whole(wanted)
        if number is None:
            raise invalid(f"min_position must be a position such as 42, not {wanted[:40]!r}", "min_position")
        position = Position(number)
        if not await self._plane.views.reached(position, MIN_POSITION_DEADLINE_S):
            message = f"this gateway is at position {self._plane.views.position}, not yet at {position}: ask again"
            raise ApiError(503, message, code="behind", field="min_position", retry_after_s=2)


def visit_of(request: Request) -> Visit:
    visit: Visit = request.state.visit
    return visit


def _refusal(path: str, error: ApiError) -> Response:
    """truss shows GraphQL errors only when the status is 200."""
    if not path.startswith("/graphql"):
        return answer_error(error)
    body = {"errors": [{"message": str(error), "extensions": {"code": (error.problem.code or "").upper()}}]}
    return Response(msgspec.json.encode(body), media_type="application/json")
