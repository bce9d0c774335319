"""The gateway's process: the data plane and the control API on the one public port."""

import asyncio
import gc
import math
import signal
import socket
from contextlib import suppress
from secrets import token_hex

import uvicorn

from events.base import DeploymentId
from gateway.bucket import RateLimit
from gateway.dataplane.front import http_protocol
from gateway.dataplane.plane import DataPlane
from gateway.dataplane.settings import DataPlaneSettings
from gateway.insight.answers import AnswersTold
from gateway.insight.scrape import Scrape
from gateway.insight.siblings import Siblings
from ops.config import Settings
from ops.local.readiness import announce
from ops.wiring.insight import insight_of
from ops.wiring.parts import parts
from ops.wiring.when_asked import App, WhenAsked
from projections.access import ACCESS
from projections.deployments import DEPLOYMENTS, status
from projections.environments import ENVIRONMENTS
from projections.fleet import FLEET
from projections.follow import Follower
from projections.routing import ROUTING
from projections.view import View
from projections.webhooks import WEBHOOKS
from projections.weights import WEIGHTS

BACKLOG = 2048
DRAIN_SIGNAL = signal.SIGUSR2


class Server(uvicorn.Server):
    """uvicorn's, which can also finish at leisure: it takes no new connection and ends when the last has gone."""

    _idle_ticks: int | None = None
    """While it drains: for how long it has had nothing to do."""

    def __init__(self, config: uvicorn.Config, leaving: asyncio.Event) -> None:
        """`leaving` is set when it is to end, either way."""
        super().__init__(config)
        self._leaving = leaving

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._leaving.set()
        await super().shutdown(sockets)

    def drain(self) -> None:
        self._leaving.set()
        if self._idle_ticks is None:
            self._idle_ticks = 0
            for each in self.servers:
                each.close()

    async def on_tick(self, counter: int) -> bool:
        if self._idle_ticks is not None:
            busy = self.server_state.connections or self.server_state.tasks
            # One idle tick proves nothing: a connection that has just been accepted is not counted yet.
            self._idle_ticks = 0 if busy else self._idle_ticks + 1
        return await super().on_tick(counter) or (self._idle_ticks or 0) > 1


async def serve(settings: Settings) -> None:
    routing, access, catalogue = View(ROUTING), View(ACCESS), View(DEPLOYMENTS)
    environments, fleet, webhooks, weights = View(ENVIRONMENTS), View(FLEET), View(WEBHOOKS), View(WEIGHTS)
    views = (routing, access, catalogue, environments, fleet, webhooks, weights)

    def status_of(deployment_id: DeploymentId) -> str | None:
        deployment = catalogue.state.deployments.get(deployment_id)
        return None if deployment is None else f"{status(deployment)}: {deployment.reason}"

    worker = f"gateway-{settings.gateway_worker}-{token_hex(3)}"
    async with (
        parts(settings, views, role="gateway", enough=(routing, access)) as own,
        insight_of(settings, worker) as insight,
    ):
        plane = DataPlane(
            routing,
            access,
            own.signals,
            _data_plane_settings(settings),
            worker=worker,
            stale_since=lambda: own.follower.stale_since,
            status_of=status_of,
            insight=insight,
        )
        answers = AnswersTold(routing, own.signals, worker)
        insight.also(answers)
        siblings = Siblings(settings.folder("run") / "gateways", plane.moment)

        leaving = asyncio.Event()

        def control() -> App:
            from gateway.control.plane import ControlViews
            from ops.wiring.control_api import control_api
            from ops.wiring.subscriptions import subscriptions_of

            subscriptions = subscriptions_of(settings, own.log, webhooks, leaving.is_set)
            shown = ControlViews(catalogue, environments, access, fleet, weights)
            return control_api(settings, own, shown, subscriptions)

        beside = {asyncio.create_task(siblings.run())}
        if settings.gateway_worker == 1:  # for all: they lie in one folder
            keeping = own.snapshots.keep((routing, access), lambda: own.follower.stale_since is None)
            beside.add(asyncio.create_task(keeping))
        try:
            app = Scrape(WhenAsked(control), access, routing, siblings.moments)
            await _serve(settings, app, plane, own.follower, leaving)
        finally:
            for task in beside:
                task.cancel()
            await asyncio.wait(beside)
            await answers.close()
            await plane.close()


def _data_plane_settings(settings: Settings) -> DataPlaneSettings:
    hosts = dict(pair.strip().split("=", 1) for pair in (settings.model_hosts or "").split(",") if pair)
    rate = settings.rate_limit_per_s
    return DataPlaneSettings(
        domain=settings.domain,
        hosts={host.strip(): name.strip() for host, name in hosts.items()},
        # Each worker counts for itself, and gets about the same number of requests.
        rate_limit=None
        if rate is None
        else RateLimit(
            per_s=rate / settings.gateway_workers,
            burst=max(1, math.ceil((settings.rate_limit_burst or rate) / settings.gateway_workers)),
        ),
        park_deadline_s=settings.park_deadline_s,
        call_deadline_s=settings.call_deadline_s,
        idle_timeout_s=settings.idle_timeout_s,
        total_deadline_s=settings.total_deadline_s,
        body_bytes_max=settings.body_bytes_max,
        prefix_affinity_bytes=settings.prefix_affinity_bytes,
    )


async def _serve(settings: Settings, app: App, plane: DataPlane, follower: Follower, leaving: asyncio.Event) -> None:
    """Until SIGTERM: then what can end soon, ends. Or until SIGUSR2: then all that has begun comes to its end.

    Ends with the follower's error when that fails.
    """
    config = uvicorn.Config(
        app,
        http=http_protocol(plane),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=int(settings.stop_deadline_s * 0.8),
    )
    listening = _listen(settings)
    server = Server(config, leaving)

    def drain() -> None:
        plane.draining = True
        server.drain()

    following = asyncio.create_task(follower.run())
    following.add_done_callback(lambda task: setattr(server, "should_exit", True))
    asyncio.get_running_loop().add_signal_handler(DRAIN_SIGNAL, drain)
    # What is there now stays: the collector need not go through it again and again.
    gc.collect()
    gc.freeze()
    announce(settings.ready_fd)
    await server.serve(sockets=[listening])
    following.cancel()
    with suppress(asyncio.CancelledError):
        await following


def _listen(settings: Settings) -> socket.socket:
    """What the supervisor holds for all workers, so that its queue outlives each; else a socket of our own."""
    if settings.listen_fd is not None:
        return socket.socket(fileno=settings.listen_fd)
    if not settings.port:
        raise ValueError("no port: start the stack with `causeway up`, or set CAUSEWAY_PORT")
    family = socket.AF_INET6 if ":" in settings.bind else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listening.bind((settings.bind, settings.port))
    listening.listen(BACKLOG)
    return listening
