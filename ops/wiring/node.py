"""The node agent's process."""

import asyncio
import shutil
from collections.abc import Mapping
from functools import partial
from secrets import token_hex

from agents.effects.limits import find_limits
from agents.effects.live_reload import Tools
from agents.effects.objects import open_objects
from agents.effects.runtime import LocalRuntime
from agents.effects.sandbox import find_sandbox
from agents.effects.weights_node import WeightsSettings, serve_weights
from agents.node import Node, offer_of_this_machine
from agents.weights.fetch import Corrupt
from events.base import NodeId
from handlers.clock import SystemClock
from ops.config import Settings
from ops.local.peer_secret import peer_secret
from ops.local.readiness import announce
from ops.wiring.machine import bubblewrap_of, machine
from ops.wiring.parts import parts
from projections.environments import ENVIRONMENTS
from projections.fleet import FLEET, Fleet
from projections.replica_targets import REPLICA_TARGETS
from projections.view import View


async def serve(settings: Settings) -> None:
    here = await machine(settings)
    targets, fleet, environments = View(REPLICA_TARGETS), View(FLEET), View(ENVIRONMENTS)
    sandbox = await find_sandbox(settings.sandbox, bubblewrap_of(settings))
    corrupt: asyncio.Queue[Corrupt] = asyncio.Queue()
    surroundings = dict(settings.inherited_env)
    async with (
        open_objects(settings.weights_at, surroundings) as mirror,
        serve_weights(
            weights_settings(settings),
            me=here.node_id,
            mirror=mirror,
            nodes=partial(_weights_addresses, fleet),
            clock=SystemClock(),
            on_corrupt=corrupt.put_nowait,
        ) as weights,
    ):
        runtime = LocalRuntime(
            replicas=settings.folder("replicas"),
            secrets=settings.folder("secrets"),
            blobs=here.blobs,
            logs=here.logs,
            ensure_environment=here.environments.ensure,
            sandbox=sandbox,
            limits=find_limits(),
            surroundings=surroundings,
            reload_with=Tools(settings.truss_venv, here.uv),
            weights=weights.replicas,
            environment_of=lambda deployment_id: environments.state.served_with(deployment_id),
        )
        offer = offer_of_this_machine(
            here.node_id,
            isolation="process" if sandbox.bubblewrap is None else "bubblewrap",
            cpu_overcommit=settings.cpu_overcommit,
            weights_address=weights.address,
        )
        async with parts(settings, (targets, fleet, environments), role="node") as own, asyncio.TaskGroup() as tasks:
            node = Node(
                offer,
                token_hex(6),
                targets=targets,
                fleet=fleet,
                effects=runtime,
                dispatch=own.dispatch,
                signals=own.signals,
                clock=own.clock,
                corrupt=corrupt,
            )
            tasks.create_task(own.follower.run())
            tasks.create_task(node.run())
            announce(settings.ready_fd)


def weights_settings(settings: Settings) -> WeightsSettings:
    folder = settings.weights_cache or settings.folder("weights")
    folder.mkdir(parents=True, exist_ok=True)
    return WeightsSettings(
        folder=folder,
        budget_bytes=settings.weights_cache_bytes or shutil.disk_usage(folder).total // 2,
        secret=peer_secret(settings),
        port=settings.weights_port,
        verify_always=settings.weights_verify == "always",
    )


def _weights_addresses(fleet: View[Fleet]) -> Mapping[NodeId, str]:
    """Of all nodes that run, those that drain too. From any thread: it reads a list of its own."""
    return {
        node.node_id: node.weights_address
        for node in list(fleet.state.nodes.values())
        if node.weights_address and node.status in ("up", "draining")
    }
