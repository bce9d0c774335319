"""The agent's process killed with its replicas running: they serve on, and its successor takes them over."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from agents.effects.keeper import server_of
from agents.effects.replica_folder import ReplicaFolder
from agents.effects.runtime import LocalRuntime
from agents.effects.sandbox import Sandbox
from events.log.jetstream import JetStreamLog
from events.node import NodeJoined, NodeResumed
from events.replica import ReplicaReady, ReplicaStopped
from projections.stores.blobs import FolderBlobs
from tests.agents.node.bundles import ROOT, Template
from tests.agents.node.site import R1, Site
from tests.agents.node.test_runtime import ECHO, Served
from tests.nats import NatsServer

AGENT = Path(__file__).with_name("serve_node.py")


@asynccontextmanager
async def agent(url: str, state: Path, sandbox: Sandbox) -> AsyncIterator[asyncio.subprocess.Process]:
    """Killed with -9 at the end."""
    mode = "process" if sandbox.bubblewrap is None else "bubblewrap"
    process = await asyncio.create_subprocess_exec(
        sys.executable, AGENT, url, state, mode, env=dict(os.environ) | {"PYTHONPATH": str(ROOT)}
    )
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


async def test_a_killed_agent_takes_no_replica_along(
    machine: LocalRuntime, sandbox: Sandbox, truss_template: Template, tmp_path: Path
) -> None:
    with NatsServer(tmp_path) as nats:
        log = await JetStreamLog.connect(nats.url, create=True)
        watcher = Site(log, machine)
        async with watcher.watching():
            bundle, environment = await truss_template.put(FolderBlobs(tmp_path / "blobs"), ECHO)
            async with agent(nats.url, tmp_path, sandbox):
                await watcher.assign(bundle=bundle, environment=environment)
                ready = await watcher.until(ReplicaReady)
            model = Served(watcher, ready.address, tmp_path)
            server = server_of(ReplicaFolder(tmp_path / "replicas" / R1))
            assert server is not None
            assert await model.predict(ask="echo") == {"ask": "echo"}
            async with agent(nats.url, tmp_path, sandbox):
                assert await model.predict(ask="echo") == {"ask": "echo"}
                assert server_of(ReplicaFolder(tmp_path / "replicas" / R1)) == server
                await watcher.drain()
                stopped = await watcher.until(ReplicaStopped)
            assert stopped.exit_code in (0, 143)
            assert (await watcher.names_of()).count("ReplicaProcessStarted") == 1
            told = [type(each.event) for each in await log.read()]
            assert told.count(NodeJoined) == 1, "the same machine joins once"
            assert told.count(NodeResumed) == 1, "that its agent had to begin anew is on record"
        await log.close()
