"""Weights on the real system: pinned and mirrored at the push, and a cold start that needs neither hub nor cache."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

from aiohttp import web

from events.replica import ReplicaWeightsReady
from tests.e2e.plane import Plane, Pushed
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
    await plane.configure(pushed, min_replica=0, scale_down_delay=1)
