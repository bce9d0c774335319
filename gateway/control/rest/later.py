"""Paths of the public specification that are not built yet. They say so; an unknown path says that instead.

It must be installed last: its pattern takes whatever no route before it took.
"""

import re

from fastapi import APIRouter, Request
from fastapi.responses import Response

from gateway.control.errors import not_found

_LATER = re.compile(
    r"/v1/(training|loops|chains|teams/|environment_groups|library_listings|billing|users|gateway|llm_models|model_apis"
    r"|instance_type_prices|blobs/|models/[^/]+/deployments/[^/]+/(metrics|ssh)"
    r"|models/[^/]+/environments/[^/]+/\w+_\w+)"
)


def install(router: APIRouter) -> None:
    @router.api_route("/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
    async def later(request: Request) -> Response:
        path = request.url.path
        if _LATER.match(path):
            raise not_found(f"{request.method} {path} is not there yet in this version of Causeway")
        raise not_found(f"there is nothing at {request.method} {path}: the API lives under /v1/, see its documentation")
