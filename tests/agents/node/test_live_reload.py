"""Live reload on a real replica: truss's own server applies the patches, in every sandbox that this machine has."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agents.effects.probe import get
from agents.effects.runtime import LocalRuntime
from events.log.memory import MemoryLog
from events.replica import ReplicaPatched, ReplicaPatchFailed, ReplicaReady
from events.signals.log_lines import LogFiles
from tests.agents.node.bundles import Template
from tests.agents.node.site import R1, Site, eventually
from tests.agents.node.test_runtime import Served
from tests.agents.node.watcher import BASE, D, Watcher

pytestmark = pytest.mark.timeout(600)
MODEL = """
import os
class Model:
    def __init__(self):
        self.count = 0
    def predict(self, inputs):
        self.count += 1
        return {"says": "%s", "count": self.count, "mood": os.environ.get("MOOD")}
"""


class Watched(Watcher):
    """On a real machine."""

    def said(self) -> list[str]:
        return [line.message for line in LogFiles(self.state / "logs").query(D, source=R1)]

    async def served(self) -> Served:
        return Served(self.site, (await self.site.until(ReplicaReady)).address, self.state)


def code(text: str, hot: bool = True) -> dict[str, Any]:
    return {
        "type": "model_code",
        "body": {"action": "UPDATE", "path": "model.py", "content": text, "hot_reload": hot},
    }


def variable(name: str, value: str) -> dict[str, Any]:
    return {"type": "environment_variable", "body": {"action": "ADD", "item": {name: value}}}


@asynccontextmanager
async def watched(machine: LocalRuntime, template: Template, state: Path) -> AsyncIterator[Watched]:
    async with Site(MemoryLog(), machine).running() as site:
        watcher = Watched(site, state)
        await watcher.push(*await template.put(watcher.blobs, MODEL % "first", truss_hash=BASE))
        yield watcher
        await site.drain()
        await site.forgotten()


async def test_new_code_is_swapped_in_and_the_memory_kept(
    machine: LocalRuntime, truss_template: Template, tmp_path: Path
) -> None:
    async with watched(machine, truss_template, tmp_path) as watcher:
        model = await watcher.served()
        assert [(await model.predict())["count"] for _ in range(2)] == [1, 2]
        await watcher.save(code(MODEL % "second"))
        assert not (await watcher.site.until(ReplicaPatched)).restarted
        assert await model.predict() == {"says": "second", "count": 3, "mood": None}
        address = watcher.site.node.loop.actual.replicas[R1].process
        assert address is not None
        assert (await get(address.address, "/control/truss_hash"))[0] == 404, "only the agent knows the token"


async def test_a_variable_restarts_the_server_and_a_syntax_error_is_told_and_recovered(
    best_machine: LocalRuntime, truss_template: Template, tmp_path: Path
) -> None:
    async with watched(best_machine, truss_template, tmp_path) as watcher:
        model = await watcher.served()
        await model.predict()
        await watcher.save(variable("MOOD", "good"))
        assert (await watcher.site.until(ReplicaPatched)).restarted
        assert await model.predict() == {"says": "first", "count": 1, "mood": "good"}
        await watcher.save(code("class Model: = 1"))
        failed = await watcher.site.until(ReplicaPatchFailed)
        assert "SyntaxError" in failed.reason and not failed.needs_push
        assert (await model.predict())["says"] == "first", "the old code goes on"
        await eventually(lambda: any("SyntaxError" in line for line in watcher.said()))
        await watcher.save(code("class Model: = 2", hot=False))
        failed = await watcher.site.until(ReplicaPatchFailed, count=2)
        assert "SyntaxError" in failed.reason and "cannot be loaded" in failed.reason
        await watcher.save(code(MODEL % "mended"))
        assert (await watcher.site.until(ReplicaPatched, count=2)).restarted, "there was no memory to keep"
        assert (await model.predict())["says"] == "mended"
