"""The real runtime, in each way in which this machine can run a replica."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from agents.effects.keeper import kill, marked
from agents.effects.limits import find_limits, remove_group
from agents.effects.replica_folder import Record, ReplicaFolder
from agents.effects.runtime import LocalRuntime
from agents.effects.sandbox import Sandbox, find_sandbox
from tests.agents.node.bundles import Template, runtime, template
from tests.agents.node.site import eventually


@pytest.fixture(scope="session")
def truss_template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return template(tmp_path_factory.mktemp("template"))


@pytest.fixture(scope="session")
def best_sandbox() -> Sandbox:
    found = shutil.which("bwrap")
    return asyncio.run(find_sandbox("auto", Path(found) if found else None))


@pytest.fixture(scope="session", params=["process", "bubblewrap"])
def sandbox(request: pytest.FixtureRequest, best_sandbox: Sandbox) -> Sandbox:
    if request.param == "process":
        return Sandbox(None)
    if best_sandbox.bubblewrap is None:
        pytest.skip("bubblewrap is not here, or does not work here")
    return best_sandbox


@pytest.fixture
async def machine(tmp_path: Path, sandbox: Sandbox) -> AsyncIterator[LocalRuntime]:
    """In both ways."""
    async with cleared(tmp_path):
        yield runtime(tmp_path, sandbox, find_limits())


@pytest.fixture
async def best_machine(tmp_path: Path, best_sandbox: Sandbox) -> AsyncIterator[LocalRuntime]:
    """In the better way only: for what does not depend on it."""
    async with cleared(tmp_path):
        yield runtime(tmp_path, best_sandbox, find_limits())


@asynccontextmanager
async def cleared(state: Path) -> AsyncIterator[None]:
    """Whatever a test leaves running or limited is taken away."""
    (state / "secrets").mkdir()
    yield
    for path in (state / "replicas").glob("*/"):
        folder = ReplicaFolder(path)
        record = folder.record()
        if record is not None:
            kill(folder, record)
            await eventually(partial(is_gone, folder, record))


def is_gone(folder: ReplicaFolder, record: Record) -> bool:
    try:
        for group in record.cgroups:
            remove_group(Path(group))
    except OSError:
        return False  # Still in use.
    return not folder.is_kept() and not list(marked(record.marker))
