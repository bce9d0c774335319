"""A builder with all that it stands on, real but for the model: log, dispatch, stores, uv."""

import asyncio
import io
import json
import os
import sys
import tarfile
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from agents.build_steps import Workshop
from agents.builder import Builder
from agents.builds import BUILDS, Builds
from agents.effects.context import Toolchain
from agents.effects.environments import Environments
from agents.effects.fence import Fence
from agents.effects.weights_mirroring import Mirroring
from events.base import Actor, BlobDigest, BuildId, CommandId, CorrelationId, DeploymentId, ModelId, NodeId, Position
from events.build import BuildFailed, BuildStepFinished, BuildStopped, BuildSucceeded
from events.codec import Recorded
from events.log import Log
from events.model import DeploymentPushed
from events.signals.log_lines import LogFiles
from handlers.base import Command
from handlers.clock import SystemClock
from handlers.deciders.build import RequestBuild
from handlers.deciders.model import PushDeployment
from handlers.decisions import DECISIONS
from handlers.dispatch import Dispatch
from projections.follow import Follower
from projections.stores.blobs import FolderBlobs
from projections.view import View
from tests.agents.builder.local_index import index_variables

UV = Path(sys.executable).parent / "uv"
TINY = Toolchain(Path(sys.executable).parent.parent, Path(__file__).with_name("tiny_context.py"), UV)
NO_FENCE = Fence(None)
ENDS = (BuildSucceeded, BuildFailed, BuildStopped)
PATIENCE_S = 120.0


def project_tar(files: dict[str, str]) -> bytes:
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    return body.getvalue()


def project(**config: Any) -> bytes:
    return project_tar({"config.yaml": json.dumps(config), "model/model.py": "class Model:\n    pass\n"})


def workshop(
    state: Path,
    *,
    index: Path | None,
    toolchain: Toolchain = TINY,
    fence: Fence = NO_FENCE,
    cache: Path | None = None,
    more: Mapping[str, str] = MappingProxyType({}),
    **secrets: bytes,
) -> Workshop:
    """`index`: the only place where packages come from; None: wherever this machine's come from."""
    state.mkdir(exist_ok=True)
    surroundings = dict(os.environ) | (index_variables(index) if index else {}) | dict(more)

    async def secret_of(name: str) -> bytes | None:
        return secrets.get(name)

    return Workshop(
        blobs=FolderBlobs(state / "blobs"),
        environments=Environments(
            state / "environments", uv=UV, cache=cache or state.parent / "cache", own_python=Path(sys.executable),
            surroundings=surroundings, fence=fence,
        ),
        toolchain=toolchain,
        fence=fence,
        surroundings=surroundings,
        scratch=state / "run" / "builds",
        secret_of=secret_of,
        mirroring=Mirroring(
            store=str(state / "blobs"), journals=state / "run" / "weights", folders=(str(state.parent / "weights"),),
            surroundings=surroundings, plane=a_plane,
        ),
    )  # fmt: skip


async def a_plane() -> str:
    return "0123456789abcdef"


class Plant:
    """One process with a builder in it."""

    def __init__(self, log: Log, shop: Workshop, state: Path, name: str = "node-1") -> None:
        self.log, self.shop = log, shop
        self.logs = LogFiles(state / "logs")
        self._decisions, self.builds = View(DECISIONS), View(BUILDS)
        self._follower = Follower(log, [self._decisions, self.builds])
        self.dispatch = Dispatch(log, self._decisions, SystemClock())
        self.builder = Builder(NodeId(name), dispatch=self.dispatch, builds=self.builds, workshop=shop, logs=self.logs)

    def running(self) -> AbstractAsyncContextManager["Plant"]:
        """With its builder at work."""
        return self._with(self._follower.run, self.builder.run)

    def following(self) -> AbstractAsyncContextManager["Plant"]:
        """Without: to look on and to send commands."""
        return self._with(self._follower.run)

    @asynccontextmanager
    async def _with(self, *loops: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator["Plant"]:
        await self._follower.catch_up()
        tasks = [asyncio.create_task(loop()) for loop in loops]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for task in tasks:
                if not task.cancelled() and (error := task.exception()):
                    raise error

    async def request(
        self,
        source: bytes | BlobDigest,
        name: str = "b1",
        deployment_id: DeploymentId | None = None,
        config: bytes = b"{}",
    ) -> BuildId:
        digest = await self.shop.blobs.put(source) if isinstance(source, bytes) else source
        await self.dispatch(
            RequestBuild(
                **identity(name), build_id=BuildId(name), model_id=ModelId("m"),
                deployment_id=deployment_id or DeploymentId(f"d-{name}"), source=digest,
                config=await self.shop.blobs.put(config),
            )
        )  # fmt: skip
        return BuildId(name)

    async def push(self, deploy_timeout_s: int) -> DeploymentId:
        nothing = BlobDigest("sha256:0")
        outcome = await self.dispatch(
            PushDeployment(
                **identity("push"), model_id=ModelId("m"), model_name="m", team="t", name=None,
                is_development=False, source=nothing, config=nothing, raw_config=None, environment=None,
                scale_down_previous=True, cpu_millicores=1000, memory_bytes=1, predict_concurrency=1,
                deploy_timeout_s=deploy_timeout_s, labels="{}", client="{}",
            )
        )  # fmt: skip
        (pushed,) = (event for event in outcome.events if isinstance(event, DeploymentPushed))
        return pushed.deployment_id

    async def send(self, command: Command) -> None:
        await self.dispatch(command)

    async def until(self, build_id: BuildId, *kinds: type) -> Recorded:
        """The first event of this build that is one of `kinds`."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                history = await self.log.read()
                for recorded in history:
                    if isinstance(recorded.event, kinds) and recorded.stream.id == build_id:
                        return recorded
                await self.builds.reached(Position(history[-1].position + 1))

    async def end_of(self, build_id: BuildId) -> BuildSucceeded | BuildFailed | BuildStopped:
        event = (await self.until(build_id, *ENDS)).event
        assert isinstance(event, ENDS)
        return event

    async def steps_of(self, build_id: BuildId) -> list[BuildStepFinished]:
        history = await self.log.read()
        return [r.event for r in history if isinstance(r.event, BuildStepFinished) and r.event.build_id == build_id]

    def said(self, build_id: BuildId) -> list[str]:
        found = self.logs.query(DeploymentId(f"d-{build_id}"), newest_first=False)
        return [line.message for line in found]

    @property
    def state(self) -> Builds:
        return self.builds.state


async def eventually(holds: Callable[[], bool]) -> None:
    """For what no event tells: files and processes."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def identity(name: str) -> dict[str, Any]:
    return {"id": CommandId(f"test-{name}"), "actor": Actor("test", "internal"), "correlation_id": CorrelationId(name)}
