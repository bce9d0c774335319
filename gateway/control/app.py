"""The control API as one ASGI application: the door, REST, truss's GraphQL, the S3 subset.

It stands behind the data plane's protocol on the same port. It has no pages of documentation: those of FastAPI would
be open to anybody.
"""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from time import monotonic

from fastapi import APIRouter, FastAPI

from events.base import Position, StreamName
from events.codec import Recorded
from events.signals.log_lines import LogFiles
from gateway.control import errors, graphql, s3
from gateway.control.config_check import ConfigCheck
from gateway.control.identity import Door
from gateway.control.plane import ControlViews, Plane
from gateway.control.rest import (
    access,
    audit_logs,
    deployments,
    environments,
    events,
    later,
    logs,
    models,
    nodes,
    patches,
    promotions,
    reverts,
    status,
    webhooks,
    weights,
)
from gateway.control.subscriptions import Subscriptions
from gateway.control.uploads import ARCHIVE_MAX_BYTES, UploadArea
from gateway.dashboard import plane_entrance as dashboard
from gateway.dashboard.plane_entrance import Loads
from gateway.dashboard.sources import Files, Past
from gateway.secrets import SecretFiles
from handlers.clock import Clock
from handlers.dispatch import Dispatch
from projections.stores.audit import AuditStore
from projections.stores.blobs import FolderBlobs


def create_control_app(
    *,
    dispatch: Dispatch,
    views: ControlViews,
    blobs: FolderBlobs,
    logs_root: Path,
    secrets: Path,
    uploads: Path,
    check_config: Sequence[str],
    public_url: str,
    stale_since: Callable[[], float | None],
    clock: Clock,
    history: Callable[[StreamName, Position], Awaitable[Sequence[Recorded]]],
    archive_max_bytes: int = ARCHIVE_MAX_BYTES,
    head: Callable[[], Awaitable[Position]] | None = None,
    audit: AuditStore | None = None,
    subscriptions: Subscriptions | None = None,
    past: Past | None = None,
    loads: Loads | None = None,
    weight_files: Files | None = None,
) -> FastAPI:
    """`views` must be folded by a running follower; `stale_since` is its (monotonic) answer.

    `check_config` is the command that checks a config: truss's Python, context.py, `--check-config`, `-`.
    `head`: where the log ends; for gateways that are not alone. `past`, `loads` and `weight_files`: past states, the
    record of load, and the files of weights, for the dashboard.
    """

    def stale_for_s() -> float | None:
        since = stale_since()
        return None if since is None else max(0.0, monotonic() - since)

    plane = Plane(
        dispatch=dispatch,
        views=views,
        blobs=blobs,
        logs=LogFiles(logs_root),
        secrets=SecretFiles(secrets),
        uploads=UploadArea(uploads, clock.now, archive_max_bytes),
        config_check=ConfigCheck(check_config),
        public_url=public_url.rstrip("/"),
        stale_for_s=stale_for_s,
        now=clock.now,
        history=history,
        head=head,
        audit=audit,
    )
    return _routed(plane, subscriptions, past, loads, weight_files)


def _routed(
    plane: Plane, subscriptions: Subscriptions | None, past: Past | None, loads: Loads | None, files: Files | None
) -> FastAPI:
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    errors.install(app)
    graphql.install(app, plane)
    s3.install(app, plane.uploads, plane.blobs)
    router = APIRouter()
    for noun in (
        status, models, deployments, patches, environments, promotions, reverts, weights, nodes, logs, access,
        audit_logs,
    ):  # fmt: skip
        noun.install(router, plane)
    if subscriptions is not None:
        events.install(router, plane, subscriptions)
        webhooks.install(router, plane, subscriptions)
        if past is not None:
            dashboard.install(router, plane, subscriptions, past, loads, files)
    later.install(router)
    app.include_router(router)
    app.add_middleware(Door, plane=plane)
    return app
