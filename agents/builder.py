"""The build agent: claims builds, runs them, reports each step and the end. Level-triggered.

It looks at what is open on record and at what it runs, and makes the one equal the other: whatever woke it, and
whatever it missed, comes to the same. Killed anywhere, it begins its unfinished builds again.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import msgspec
import structlog

from agents.build_steps import BuildBroken, Built, News, OnLine, StepEnded, Tell
from agents.build_weights import Pinning, WeightsIn, WeightsOut
from agents.builds import ATTEMPTS, Builds, OpenBuild, to_cancel, to_start
from events.base import Actor, BuildId, CommandId, DeploymentId, NodeId, derive
from events.log import LogUnavailable
from events.signals.log_lines import BUILD, LogLine, parse_line
from handlers.base import Command, Refused
from handlers.deciders.build import (
    ReportBuildFailed,
    ReportBuildStep,
    ReportBuildSucceeded,
    ReportWeightsMirrored,
    ReportWeightsMirrorFailed,
    ReportWeightsPinned,
    StartBuild,
)
from handlers.dispatch import Contended
from projections.view import View

_log = structlog.get_logger()
_RETRY_S = 0.5
_RETRY_CAP_S = 15.0
_REPORTS: Mapping[type, type[ReportWeightsPinned | ReportWeightsMirrored | ReportWeightsMirrorFailed]] = {
    Pinning: ReportWeightsPinned,
    WeightsIn: ReportWeightsMirrored,
    WeightsOut: ReportWeightsMirrorFailed,
}


class Bench(Protocol):
    """Where builds are made: a `Workshop` on a real machine."""

    def alone(self) -> AbstractAsyncContextManager[None]:
        """Nobody else builds here; what a killed builder left is cleared away."""
        ...

    async def build(self, build: OpenBuild, on_line: OnLine, tell: Tell) -> Built:
        """Raises BuildBroken."""
        ...


class Lines(Protocol):
    """Where log lines are kept: `LogFiles`."""

    def write(self, deployment_id: DeploymentId, line: LogLine) -> None: ...

    def close(self, deployment_id: DeploymentId, source: str) -> None: ...


class Builder:
    def __init__(
        self,
        me: NodeId,
        *,
        dispatch: Callable[[Command], Awaitable[object]],
        builds: View[Builds],
        workshop: Bench,
        logs: Lines,
        at_most: int = 2,
    ) -> None:
        self._me = me
        self._dispatch = dispatch
        self._builds = builds
        self._shop = workshop
        self._logs = logs
        self._at_most = at_most
        self._running: dict[BuildId, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """For ever, until cancelled; then running builds are ended, and begun again by the next start."""
        async with self._shop.alone():
            self._builds.on_change(self._changed.set)
            async with asyncio.TaskGroup() as tasks:
                while True:
                    self._changed.clear()
                    self._settle(tasks)
                    await self._changed.wait()

    def _settle(self, tasks: asyncio.TaskGroup) -> None:
        for build_id in to_cancel(self._builds.state, self._running):
            if not self._running[build_id].cancelling():  # Once: a second would disturb its clearing up.
                self._running[build_id].cancel()
        for build in to_start(self._builds.state, self._me, self._running, self._at_most):
            task = tasks.create_task(self._one(build), name=f"build {build.build_id}")
            self._running[build.build_id] = task

    async def _one(self, build: OpenBuild) -> None:
        try:
            if await self._claimed(build):
                await self._build(build, build.attempt + 1)
        finally:
            del self._running[build.build_id]
            self._logs.close(build.deployment_id, BUILD)
            self._changed.set()

    async def _claimed(self, build: OpenBuild) -> bool:
        command = StartBuild(
            **self._identity(build, "start", build.attempt + 1), build_id=build.build_id, builder=self._me
        )
        try:
            await self._send(command)
        except Refused as refused:
            _log.info("build is not ours", build_id=build.build_id, why=refused.reason)
            await self._moved_on(build)
            return False
        return True

    async def _moved_on(self, build: OpenBuild) -> None:
        """Waits until our view shows what the refusal saw, or we would ask again at once, for ever."""
        while self._builds.state.open.get(build.build_id) == build:
            position = self._builds.position
            await self._builds.reached(type(position)(position + 1))

    async def _build(self, build: OpenBuild, attempt: int) -> None:
        began = asyncio.get_running_loop().time()

        def seconds() -> float:
            return round(asyncio.get_running_loop().time() - began, 3)

        def said(text: str) -> None:
            self._say(build, text)

        async def tell(news: News) -> None:
            if isinstance(news, StepEnded):
                await step_ended(news)
                return
            report = _REPORTS[type(news)]
            identity = self._identity(build, f"{report.__name__} {news.mount_location}", attempt)
            await self._send(report(**identity, build_id=build.build_id, **msgspec.structs.asdict(news)))

        async def step_ended(step: StepEnded) -> None:
            how = "reused" if step.reused else "done"
            said(f"step {step.name} {how} in {step.seconds:.1f} s ({step.detail})")
            await self._send(
                ReportBuildStep(
                    **self._identity(build, step.name, attempt),
                    build_id=build.build_id,
                    step=step.name,
                    seconds=step.seconds,
                    reused=step.reused,
                    detail=step.detail,
                )
            )

        said(f"build {build.build_id} started" + (f", attempt {attempt}: the builder was restarted" * (attempt > 1)))
        try:
            if attempt > ATTEMPTS:
                raise BuildBroken("unpack", f"the builder died {ATTEMPTS} times during this build: see its build log")
            built = await self._shop.build(build, said, tell)
        except BuildBroken as broken:
            said(f"error: build failed in step {broken.step}: {broken.reason}")
            await self._report_failed(build, attempt, broken, seconds())
        except asyncio.CancelledError:
            said("warning: build stopped")
            raise
        else:
            said(f"build succeeded in {seconds():.1f} s")
            await self._report_succeeded(build, attempt, built, seconds())

    def _say(self, build: OpenBuild, text: str) -> None:
        try:
            self._logs.write(build.deployment_id, parse_line(text, source=BUILD, ts_ns=time.time_ns()))
        except OSError as error:  # A full disk: the build fails of it where it matters, not in its log.
            _log.warning("build log cannot be written", build_id=build.build_id, why=str(error))

    async def _report_failed(self, build: OpenBuild, attempt: int, broken: BuildBroken, seconds: float) -> None:
        await self._send(
            ReportBuildFailed(
                **self._identity(build, "failed", attempt),
                build_id=build.build_id,
                step=broken.step,
                reason=broken.reason,
                seconds=seconds,
            )
        )

    async def _report_succeeded(self, build: OpenBuild, attempt: int, built: Built, seconds: float) -> None:
        await self._send(
            ReportBuildSucceeded(
                **self._identity(build, "succeeded", attempt),
                build_id=build.build_id,
                bundle=built.bundle,
                environment=built.environment,
                python_version=built.python_version,
                truss_hash=built.truss_hash,
                truss_signature=built.truss_signature,
                seconds=seconds,
                weights=built.weights,
            )
        )

    async def _send(self, command: Command) -> None:
        """Until the log takes it: a finished build is not thrown away because the log was out of reach."""
        delay_s = _RETRY_S
        while True:
            try:
                await self._dispatch(command)
                return
            except (LogUnavailable, Contended) as error:
                _log.warning("report waits", command=type(command).__name__, why=str(error), retry_s=delay_s)
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, _RETRY_CAP_S)

    def _identity(self, build: OpenBuild, what: str, attempt: int) -> dict[str, Any]:
        return {
            "id": CommandId(derive("builder", self._me, build.build_id, attempt, what)),
            "actor": Actor(f"agent:{self._me}", "internal"),
            "correlation_id": build.correlation_id,
            "causation_id": build.requested,
        }
