"""The control API of a gateway worker, with all that it loads."""

from functools import partial

from gateway.control.app import create_control_app
from gateway.control.plane import ControlViews
from gateway.control.subscriptions import Subscriptions
from ops.config import Settings
from ops.past import past_of
from ops.replay import states_at
from ops.wiring.machine import CONTEXT_SCRIPT, uv_of
from ops.wiring.parts import Parts, open_load_history
from ops.wiring.weight_files import weight_files
from ops.wiring.when_asked import App
from projections.stores.blobs import FolderBlobs
from projections.stores.postgres import PostgresAuditStore


def control_api(
    settings: Settings,
    own: Parts,
    views: ControlViews,
    subscriptions: Subscriptions,
) -> App:
    past = past_of(own.log, settings.folder("snapshots"))
    return create_control_app(
        dispatch=own.dispatch,
        views=views,
        blobs=FolderBlobs(settings.folder("blobs")),
        logs_root=settings.folder("logs"),
        secrets=settings.folder("secrets"),
        uploads=settings.folder("run") / "uploads",
        check_config=(
            str(settings.truss_venv / "bin" / "python"),
            str(CONTEXT_SCRIPT),
            *("--uv", str(uv_of(settings))),
            *("--check-config", "-"),
        ),
        public_url=settings.origin,
        stale_since=lambda: own.follower.stale_since,
        clock=own.clock,
        history=lambda stream, until: own.log.read(until=until, stream=stream),
        head=own.log.head,
        # It connects when it is first asked, and its connections end with the process.
        audit=None if settings.postgres_url is None else PostgresAuditStore(settings.postgres_url),
        subscriptions=subscriptions,
        past=lambda projections, position: states_at(past, projections, position),
        loads=lambda: open_load_history(settings),
        weight_files=partial(weight_files, settings),
    )
