"""The node agent's process."""

import asyncio
from secrets import token_hex

from agents.effects.limits import find_limits
from agents.effects.live_reload import Tools
from agents.effects.runtime import LocalRuntime
from agents.effects.sandbox import find_sandbox
from agents.node import Node, offer_of_this_machine
from ops.config import Settings
from ops.local.readiness import announce
from ops.wiring.machine import bubblewrap_of, machine
from ops.wiring.parts import parts
from projections.environments import ENVIRONMENTS
from projections.fleet import FLEET
from projections.replica_targets import REPLICA_TARGETS
from projections.view import View


async def serve(settings: Settings) -> None:
    here = await machine(settings)
    targets, fleet, environments = View(REPLICA_TARGETS), View(FLEET), View(ENVIRONMENTS)
    sandbox = await find_sandbox(settings.sandbox, bubblewrap_of(settings))
    runtime = LocalRuntime(
        replicas=settings.folder("replicas"),
        secrets=settings.folder("secrets"),
        blobs=here.blobs,
        logs=here.logs,
        ensure_environment=here.environments.ensure,
        sandbox=sandbox,
        limits=find_limits(),
        surroundings=dict(settings.inherited_env),
        reload_with=Tools(settings.truss_venv, here.uv),
        environment_of=lambda deployment_id: environments.state.served_with(deployment_id),
    )
    offer = offer_of_this_machine(
        here.node_id,
        isolation="process" if sandbox.bubblewrap is None else "bubblewrap",
        cpu_overcommit=settings.cpu_overcommit,
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
        )
        tasks.create_task(own.follower.run())
        tasks.create_task(node.run())
        announce(settings.ready_fd)
