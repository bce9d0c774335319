"""Weights on the real system: pinned, mirrored at the push, brought to four nodes; cold starts without hub or cache."""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

from aiohttp import web

from events.replica import ReplicaWeightsReady
from ops import replay
from ops.config import CHECKOUT
from ops.local import attach
from projections.fleet import FLEET
from tests.e2e.plane import Plane, Pushed, until
from tests.e2e.projects import project
from tests.weights.hub import COMMIT, Hub, Repo

SERVER = """import json
import os
from hashlib import sha256
from pathlib import Path

class Model:
    def load(self):
        folder = Path(json.loads(os.environ["CAUSEWAY_WEIGHTS"])["/models/tiny"])
        self._sums = {path.name: sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}

    def predict(self, model_input):
        return self._sums
"""
CONFIG = "weights:\n  - source: hf://acme/tiny@main\n    mount_location: /models/tiny\n"
FILES = {"config.json": b'{"layers": 2}', "model.safetensors": os.urandom(9 << 20)}
SUMS = {path: sha256(body).hexdigest() for path, body in FILES.items()}


@asynccontextmanager
async def hub_of(plane: Plane) -> AsyncIterator[Hub]:
    hub = Hub({"acme/tiny": Repo({COMMIT: FILES})})
    runner = web.AppRunner(hub.app())
    await runner.setup()
    port = int(dict(plane.settings.inherited_env)["HF_ENDPOINT"].rpartition(":")[2])
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield hub
    finally:
        await runner.cleanup()


@asynccontextmanager
async def more_nodes(plane: Plane, folder: Path, count: int) -> AsyncIterator[list[str]]:
    """Agents of machines that share nothing with the first but its blobs; they leave at the end."""
    settings, agents = attach.attached(plane.settings), []
    names = [f"node-more-{number}" for number in range(count)]
    try:
        for name in names:
            state = folder / name
            (state / "run").mkdir(parents=True)
            (state / "run" / "node-id").write_text(name)
            (state / "blobs").symlink_to(plane.settings.folder("blobs"))
            secret = (plane.settings.folder("run") / "peer-secret").read_text()
            environ = settings.but(state=state, peer_secret=secret, ready_fd=None).environ()
            command = (sys.executable, "-m", "ops.serve", "node")
            with (folder / f"{name}.log").open("wb") as log:
                agents.append(
                    await asyncio.create_subprocess_exec(*command, env=environ, cwd=CHECKOUT, stdout=log, stderr=log)
                )
        await until(lambda: statuses(plane, names, "up"), f"{names} have joined")
        yield names
        drained = await asyncio.gather(*(plane.causeway("node", "drain", name) for name in names))
        assert [each.code for each in drained] == [0] * count, drained
        await until(lambda: statuses(plane, names, "left"), f"{names} have left")
    finally:
        for agent in agents:
            if agent.returncode is None:
                agent.terminate()
            await agent.wait()


async def statuses(plane: Plane, names: list[str], wanted: str) -> bool:
    async with plane.log() as log:
        nodes = (await replay.state_at(log, FLEET)).nodes.values()
    return [each.status for each in nodes if each.node_id in names] == [wanted] * len(names)


async def read(plane: Plane, pushed: Pushed) -> object:
    async with plane.http() as http:
        answer = await http.post(f"{pushed.production}/predict", json={})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_cold_start_needs_neither_the_hub_nor_what_the_node_kept(plane: Plane, tmp_path: Path) -> None:
    folder = project(tmp_path / "tiny", "tiny", SERVER, CONFIG)
    async with hub_of(plane) as hub:
        pushed = await plane.active(folder)
        assert hub.bytes == sum(map(len, FILES.values())), "each byte leaves the hub once"
    assert await read(plane, pushed) == SUMS
    for empty in (False, True):
        await plane.configure(pushed, min_replica=0, scale_down_delay=1)
        await plane.reaches(pushed, "SCALED_TO_ZERO")
        await plane.configure(pushed, scale_down_delay=900)
        if empty:
            shutil.rmtree(plane.settings.folder("weights") / "files")
        assert await read(plane, pushed) == SUMS
    events = [each.event for each in await plane.events("ReplicaWeightsReady")]
    starts = [e for e in events if isinstance(e, ReplicaWeightsReady) and e.deployment_id == pushed.deployment_id]
    total = sum(map(len, FILES.values()))
    assert [(each.node_bytes, each.peer_bytes, each.mirror_bytes) for each in starts] == [
        (0, 0, total),
        (total, 0, 0),
        (0, 0, total),
    ]
    async with more_nodes(plane, tmp_path, 3) as names:
        said = await plane.causeway("weights", "prefetch", "tiny", "-o", "json")
        assert said.code == 0, said
        came = {each["node_id"]: [each[f"{tier}_bytes"] for tier in ("node", "peer", "mirror")] for each in said.json}
        assert len(came) == 4 and all(sum(each) == total for each in came.values()), came
        assert sum(came[name][2] for name in names) <= total, "three empty caches are one read of the mirror at most"
        again = await plane.causeway("weights", "prefetch", "tiny", "--node", names[0])
        assert again.code == 0 and f"{total:,} from node" in again.told, again
        assert "every node has what was wished for" in (await plane.causeway("weights", "prefetches")).told
    await plane.configure(pushed, min_replica=0, scale_down_delay=1)
