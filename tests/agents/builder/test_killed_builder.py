"""kill -9 of a builder in the middle: its children die with it, and the next start begins the build again."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import pytest

from events.build import BuildStarted, BuildSucceeded
from events.log.jetstream import JetStreamLog
from tests.agents.builder.local_index import wheel
from tests.agents.builder.plant import Plant, eventually, project, workshop
from tests.nats import NatsServer

ROOT = Path(__file__).parents[3]


@pytest.fixture
async def cleanup() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@contextmanager
def builder(url: str, state: Path, index: Path) -> Iterator[subprocess.Popen[bytes]]:
    script = Path(__file__).with_name("serve_builder.py")
    process = subprocess.Popen(
        [sys.executable, script, url, state, index], env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=ROOT
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def test_a_killed_builder_leaves_no_process_and_its_build_is_begun_again(
    tmp_path: Path, cleanup: AsyncExitStack
) -> None:
    index, state, marker = tmp_path / "index", tmp_path / "state", tmp_path / "marker"
    wheel(index, "tinylib")
    # The first attempt hangs, in a session of its own; the second finds the marker and goes on.
    hang = f"setsid sh -c 'echo $$ > {marker}.tmp; mv {marker}.tmp {marker}; sleep 600'"
    source = project(requirements=["tinylib"], build_commands=[f"test -e {marker} || {hang}"])
    with NatsServer(tmp_path / "nats") as server:
        log = await JetStreamLog.connect(server.url, create=True)
        cleanup.push_async_callback(log.close)
        watcher = Plant(log, workshop(state, index=index), state, name="watcher")
        async with watcher.following():
            build = await watcher.request(source)
            with builder(server.url, state, index) as process:
                await eventually(marker.exists)
                process.send_signal(signal.SIGKILL)
                process.wait()
            pid = marker.read_text().strip()
            await eventually(lambda: not Path(f"/proc/{pid}").exists())
            assert any((state / "run" / "builds").iterdir())
            with builder(server.url, state, index):
                ended = await watcher.end_of(build)
                assert isinstance(ended, BuildSucceeded)
            starts = [r.event for r in await log.read() if isinstance(r.event, BuildStarted)]
            assert [start.attempt for start in starts] == [1, 2]
            assert not any((state / "run" / "builds").iterdir())
            assert "build b1 started, attempt 2: the builder was restarted" in watcher.said(build)
            steps = {step.step: step.reused for step in await watcher.steps_of(build)}
            assert steps["resolve"] and steps["environment"], "what had been finished is reused"


async def test_killed_after_every_step_a_build_still_ends_well(tmp_path: Path, cleanup: AsyncExitStack) -> None:
    index, state = tmp_path / "index", tmp_path / "state"
    wheel(index, "tinylib")
    with NatsServer(tmp_path / "nats") as server:
        log = await JetStreamLog.connect(server.url, create=True)
        cleanup.push_async_callback(log.close)
        watcher = Plant(log, workshop(state, index=index), state, name="watcher")
        async with watcher.following():
            build = await watcher.request(project(requirements=["tinylib"], build_commands=["true"]))
            for steps in range(1, 5):
                with builder(server.url, state, index):
                    while len({step.step for step in await watcher.steps_of(build)}) < steps:  # noqa: ASYNC110
                        await asyncio.sleep(0.005)
            with builder(server.url, state, index):
                assert isinstance(await watcher.end_of(build), BuildSucceeded)
        assert not list((state / "environments" / ".aside").glob("*"))
