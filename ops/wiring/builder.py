"""The build agent's process."""

import asyncio

from agents.build_steps import Workshop
from agents.builder import Builder
from agents.builds import BUILDS
from agents.effects.context import Toolchain
from agents.effects.weights_mirroring import Mirroring
from events.base import NodeId
from events.log import Log, LogUnavailable
from ops.config import Settings
from ops.local.readiness import announce
from ops.wiring.machine import CONTEXT_SCRIPT, machine
from ops.wiring.parts import parts
from ops.wiring.plane_name import plane_name
from projections.view import View

_LOG_AGAIN_S = 1.0


async def serve(settings: Settings) -> None:
    here = await machine(settings)

    async def secret_of(name: str) -> bytes | None:
        value = await asyncio.to_thread(here.secrets.read, name)
        return None if value is None else value.encode()

    builds = View(BUILDS)
    async with parts(settings, (builds,), role="builder") as own, asyncio.TaskGroup() as tasks:
        workshop = Workshop(
            blobs=here.blobs,
            environments=here.environments,
            toolchain=Toolchain(settings.truss_venv, CONTEXT_SCRIPT, here.uv),
            fence=here.fence,
            surroundings=dict(settings.inherited_env),
            scratch=settings.folder("run") / "builds",
            secret_of=secret_of,
            mirroring=mirroring_of(settings, own.log),
        )
        me = NodeId(f"{here.node_id}-builder")
        builder = Builder(me, dispatch=own.dispatch, builds=builds, workshop=workshop, logs=here.logs)
        tasks.create_task(own.follower.run())
        tasks.create_task(builder.run())
        announce(settings.ready_fd)


def mirroring_of(settings: Settings, log: Log) -> Mirroring:
    async def plane() -> str:
        while True:  # Who asks builds, so something has happened, and the log will be there again.
            try:
                return await plane_name(log)
            except LogUnavailable:
                await asyncio.sleep(_LOG_AGAIN_S)

    return Mirroring(
        store=settings.weights_at,
        journals=settings.folder("run") / "weights",
        folders=tuple((settings.weights_folders or "").split(":")) if settings.weights_folders else (),
        surroundings=dict(settings.inherited_env),
        plane=plane,
    )
