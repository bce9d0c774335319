"""A stock truss project, built with the real truss tools and all that its model server needs."""

import shutil
import subprocess
import tarfile
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import pytest

from agents.effects.context import Toolchain
from agents.effects.fence import find_fence
from agents.effects.unpack import unpack
from events.build import BuildFailed, BuildSucceeded
from events.log.memory import MemoryLog
from tests.agents.builder.plant import UV, Plant, project_tar, workshop

ROOT = Path(__file__).parents[3]
TOOLS = Toolchain(ROOT / ".venv-truss", ROOT / "ops" / "truss_tools" / "context.py", UV)
(SAMPLES,) = (ROOT / ".venv-truss" / "lib").glob("python3*/site-packages/truss/tests/test_data")


@pytest.fixture
async def plant(tmp_path: Path) -> AsyncIterator[Plant]:
    state = tmp_path / "state"
    bwrap = shutil.which("bwrap")
    fence = await find_fence("auto", Path(bwrap) if bwrap else None)
    # Kept between runs, in the checkout: 50 packages need not be fetched each time.
    shop = workshop(state, index=None, toolchain=TOOLS, fence=fence, cache=ROOT / ".cache" / "uv")
    async with Plant(MemoryLog(), shop, state).running() as plant:
        yield plant


def archive(folder: Path) -> bytes:
    """As `truss push` packs it: files only."""
    body = BytesIO()
    with tarfile.open(fileobj=body, mode="w") as tar:
        for path in sorted(each for each in folder.rglob("*") if each.is_file()):
            tar.add(path, path.relative_to(folder))
    return body.getvalue()


async def test_a_sample_of_truss_itself_becomes_a_bundle_that_its_server_can_run(plant: Plant, tmp_path: Path) -> None:
    ended = await plant.end_of(await plant.request(archive(SAMPLES / "test_build_commands")))
    assert isinstance(ended, BuildSucceeded), (ended, plant.said(ended.build_id))
    bundle = tmp_path / "unpacked"
    unpack(plant.shop.blobs.path(ended.bundle), bundle)
    assert (bundle / "app" / "example_dir" / "testing.py").exists(), "the build commands ran in the app folder"
    environment = await plant.shop.environments.ensure(plant.shop.blobs.path(ended.environment), ended.python_version)
    subprocess.run(
        [environment.python, "-c", "import truss_server"], cwd=bundle / "app", env={}, check=True, timeout=120
    )


async def test_what_truss_refuses_is_told_with_field_and_fix(plant: Plant) -> None:
    files = {"config.yaml": "model_name: m\nrequirments: [x]\n", "model/model.py": "class Model:\n    pass\n"}
    ended = await plant.end_of(await plant.request(project_tar(files)))
    assert isinstance(ended, BuildFailed)
    assert ended.step == "context" and "requirments" in ended.reason and "write `requirements`" in ended.reason
