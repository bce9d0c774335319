"""One shape for every answer that is not a success: {"message", "code"?, "field"?, "fix"?}.

    invalid -> 400   not_found -> 404   conflict -> 409   precondition -> 409   capacity -> 503   Contended -> 409
    no or a wrong key -> 401   a key without the scope -> 403   the log is away -> 503 with Retry-After

`precondition` is 409, not 412: 412 speaks of conditional headers, and clients retry it as such.
"""

from collections.abc import Awaitable, Callable

import msgspec
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from events.log import LogUnavailable
from handlers.base import Refused, RefusedKind
from handlers.dispatch import Contended
from projections.stores.audit import AuditUnavailable

_log = structlog.get_logger()

STATUS_OF: dict[RefusedKind, int] = {
    "invalid": 400,
    "not_found": 404,
    "conflict": 409,
    "precondition": 409,
    "capacity": 503,
}


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a client reads."""

    message: str
    code: str | None = None
    field: str | None = None
    fix: str | None = None


class ApiError(Exception):
    """A request that is not carried out."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        field: str | None = None,
        fix: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.problem = Problem(message, code, field, fix)
        self.retry_after_s = retry_after_s


def invalid(message: str, field: str | None = None, fix: str | None = None) -> ApiError:
    return ApiError(400, message, code="invalid", field=field, fix=fix)


def not_found(message: str, field: str | None = None, fix: str | None = None) -> ApiError:
    return ApiError(404, message, code="not_found", field=field, fix=fix)


def as_api_error(error: Exception) -> ApiError:
    """The one mapping of what can go wrong to what a client is told."""
    match error:
        case ApiError():
            return error
        case Refused():
            retry_after_s = 5 if error.kind == "capacity" else None
            return ApiError(
                STATUS_OF[error.kind], error.reason, code=error.kind, field=error.field, retry_after_s=retry_after_s
            )
        case Contended():
            return ApiError(409, f"{error}: ask again", code="contended", retry_after_s=1)
        case LogUnavailable():
            message = "the event log cannot be reached, so nothing was changed: ask again shortly"
            return ApiError(503, message, code="log_unavailable", retry_after_s=2)
        case AuditUnavailable():
            message = "the audit trail's store cannot be reached; the plane itself serves on: ask again shortly"
            return ApiError(503, message, code="audit_unavailable", retry_after_s=5)
        case RequestValidationError():
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            return ApiError(400, f"{field}: {first['msg']}", code="invalid", field=field)
        case HTTPException():
            return ApiError(error.status_code, str(error.detail), code="http")
        case _:
            return ApiError(500, "the plane failed to answer this; its log says why", code="internal")


def answer(status: int, problem: Problem, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(problem), status, headers, "application/json")


def answer_error(error: ApiError) -> Response:
    headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return answer(error.status, error.problem, headers)


def install(app: FastAPI) -> None:
    def handler() -> Callable[[Request, Exception], Awaitable[Response]]:
        async def handle(request: Request, error: Exception) -> Response:
            known = as_api_error(error)
            if known.status == 500:
                _log.error("request failed", method=request.method, path=request.url.path, exc_info=error)
            return answer_error(known)

        return handle

    handled = (
        ApiError,
        Refused,
        Contended,
        LogUnavailable,
        AuditUnavailable,
        RequestValidationError,
        HTTPException,
        Exception,
    )
    for kind in (*handled, ClientDisconnect):
        app.add_exception_handler(kind, handler())
