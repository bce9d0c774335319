"""Real bundles for the real runtime: truss's own context code and model server, and an environment for them.

Laid out and installed once; a test then puts its own model and settings in. Environments are kept between runs in the
checkout's cache, by content, as downloads are.
"""

import asyncio
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agents.effects.context import Bundle, Toolchain, lay_out
from agents.effects.environments import Environments, Wishes
from agents.effects.fence import Fence
from agents.effects.limits import Limits
from agents.effects.live_reload import Tools
from agents.effects.package import pack
from agents.effects.runtime import LocalRuntime
from agents.effects.sandbox import Sandbox
from agents.effects.weights_cache import WeightsCache
from agents.effects.weights_chunks import WeightsChunks
from agents.effects.weights_fetch import WeightsFetch
from agents.effects.weights_mount import NodeWeights
from agents.effects.weights_peer_client import HttpPeers
from agents.effects.weights_peer_wire import Keyring
from agents.weights.fetch import Corrupt
from events.base import BlobDigest, DeploymentId, NodeId
from events.signals.log_lines import LogFiles
from handlers.clock import SystemClock
from projections.stores.blobs import FolderBlobs
from projections.stores.objects import FolderObjects

ROOT = Path(__file__).parents[3]
CACHE = ROOT / ".cache"
UV = Path(sys.executable).parent / "uv"
TOOLS = Toolchain(ROOT / ".venv-truss", ROOT / "ops" / "truss_tools" / "context.py", UV)
CONFIG = {"model_name": "tiny", "python_version": "py311", "secrets": {"token": None}}


class Template:
    """A laid out project and the lock of its environment."""

    def __init__(self, folder: Path) -> None:
        self.bundle = folder / "bundle"
        self.lock = folder / "requirements.lock"
        self._work = folder / "work"
        self._work.mkdir()

    async def make(self) -> None:
        project = self._work / "project"
        (project / "model").mkdir(parents=True)
        (project / "config.yaml").write_text(json.dumps(CONFIG))
        (project / "model" / "model.py").write_text("class Model:\n    def predict(self, inputs): ...\n")
        (project / "packages").mkdir()
        (project / "packages" / "bundled.py").write_text("from pathlib import Path\nwhere = Path(__file__).parent\n")
        laid_out = await lay_out(
            project,
            self.bundle,
            toolchain=TOOLS,
            fence=Fence(None),
            surroundings=os.environ,
            work=self._work,
            on_line=print,
        )
        self.lock.write_bytes(await _lock(laid_out, self._work))

    async def put(self, blobs: FolderBlobs, model: str, **facts: Any) -> tuple[BlobDigest, BlobDigest]:
        """Bundle and environment of this model, as blobs. `facts` replace those of bundle.json."""
        with tempfile.TemporaryDirectory() as scratch:
            bundle = Path(scratch, "bundle")
            shutil.copytree(self.bundle, bundle)
            (bundle / "app" / "model" / "model.py").write_text(model)
            described = json.loads((bundle / "bundle.json").read_bytes()) | facts
            (bundle / "bundle.json").write_text(json.dumps(described))
            pack(bundle, Path(scratch, "tar"))
            return await blobs.put(Path(scratch, "tar")), await blobs.put(self.lock)


async def _lock(bundle: Bundle, work: Path) -> bytes:
    environments = kept_environments()
    python = await environments.interpreter("3.11")
    wishes = Wishes(bundle.requirements, bundle.constraints, bundle.overrides)
    return (await environments.resolve(wishes, python, work, print)).text


def kept_environments() -> Environments:
    return Environments(
        CACHE / "environments",
        uv=UV,
        cache=CACHE / "uv",
        own_python=Path(sys.executable),
        surroundings=os.environ,
        fence=Fence(None),
    )


def runtime(
    state: Path, sandbox: Sandbox, limits: Limits, environment_of: Callable[[DeploymentId], str | None] = lambda _: None
) -> LocalRuntime:
    return LocalRuntime(
        replicas=state / "replicas",
        secrets=state / "secrets",
        blobs=FolderBlobs(state / "blobs"),
        logs=LogFiles(state / "logs"),
        ensure_environment=kept_environments().ensure,
        sandbox=sandbox,
        limits=limits,
        surroundings=os.environ,
        reload_with=Tools(ROOT / ".venv-truss", UV),
        weights=lone_weights(state),
        environment_of=environment_of,
        probe_timeout_s=2.0,
    )


def lone_weights(state: Path) -> NodeWeights:
    """Of a node that knows no other."""
    cache = WeightsCache(state / "weights", 1 << 30)
    cache.open()
    me, mirror = NodeId("node-1"), FolderObjects(state / "blobs")
    peers = HttpPeers(Keyring(me, b"alone"), dict)
    told: list[Corrupt] = []
    chunks = WeightsChunks(cache, me=me, mirror=mirror, peers=peers, clock=SystemClock(), on_corrupt=told.append)
    return NodeWeights(WeightsFetch(chunks, me=me, mirror=mirror))


def template(folder: Path) -> Template:
    made = Template(folder)
    asyncio.run(made.make())
    return made
