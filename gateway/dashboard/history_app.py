"""The dashboard of a history that has ended, for whoever opened it on his own machine: no key, no present."""

from fastapi import APIRouter, FastAPI
from fastapi.responses import RedirectResponse, Response
from starlette.middleware.trustedhost import TrustedHostMiddleware

from gateway.control import errors
from gateway.dashboard.board import Board
from gateway.dashboard.moment import ROOT
from gateway.dashboard.routes import Entrance, install
from gateway.dashboard.sources import Sources

LOCAL = ["127.0.0.1", "localhost"]
"""What the machine calls itself: a page elsewhere that has a name of its own lead here gets nothing."""


def history_app(sources: Sources) -> FastAPI:
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    errors.install(app)
    router = APIRouter()

    @router.get("/")
    async def begin() -> Response:
        return RedirectResponse(ROOT, 303)

    install(router, Board(sources), Entrance(lambda request: lambda: True, signs_in=False))
    app.include_router(router)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=LOCAL)
    return app
