"""What a build can see and touch inside the fence: its bundle and nothing of ours."""

import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agents.effects.fence import Fence, find_fence
from agents.effects.sandbox import SandboxMissing
from events.build import BuildFailed, BuildSucceeded
from events.log.memory import MemoryLog
from tests.agents.builder.local_index import source_distribution, wheel
from tests.agents.builder.plant import Plant, project, workshop

ROOT = Path(__file__).parents[3]
BUBBLEWRAP = shutil.which("bwrap")
needs_bubblewrap = pytest.mark.skipif(BUBBLEWRAP is None, reason="bubblewrap is not on the PATH")


@pytest.fixture
async def plant(tmp_path: Path) -> AsyncIterator[Plant]:
    assert BUBBLEWRAP is not None
    state, home = tmp_path / "state", tmp_path / "home"
    for folder in (state / "secrets", home, tmp_path / "index"):
        folder.mkdir(parents=True)
    (state / "secrets" / "of-the-plane").write_text("x")
    (home / "private").write_text("x")
    wheel(tmp_path / "index", "tinylib")
    fence = await find_fence("bubblewrap", Path(BUBBLEWRAP))
    shop = workshop(state, index=tmp_path / "index", fence=fence, token=b"s3cret")
    async with Plant(MemoryLog(), shop, state).running() as plant:
        yield plant


@needs_bubblewrap
async def test_commands_see_an_image_s_layout_and_can_change_only_the_bundle(plant: Plant, tmp_path: Path) -> None:
    commands = [
        'test "$PWD" = /app && echo made > made.txt && echo beside > /packages/beside.txt',
        "python -c 'import tinylib'",
        'test "$(wc -c < /run/token)" = 6',
        f"test ! -e {tmp_path}/state/secrets/of-the-plane",
        f"test ! -e {tmp_path}/home/private",
        f"test ! -e {ROOT}/pyproject.toml",
        f"mkdir -p {tmp_path} && touch {tmp_path}/escaped",  # A /tmp of its own, gone with it.
        "! touch /usr/escaped",
        '! touch "$(dirname "$(dirname "$(command -v python)")")"/escaped',
        'test "$(ls /proc | grep -c "^[0-9]")" -lt 10',
        "! env | grep -E '^CAUSEWAY|^AWS_|^PYTEST_'",
    ]
    ended = await plant.end_of(
        await plant.request(
            project(requirements=["tinylib"], build_commands=commands, build_secrets={"token": "/run/token"})
        )
    )
    assert isinstance(ended, BuildSucceeded), plant.said(ended.build_id)
    assert not (tmp_path / "escaped").exists() and b"s3cret" not in await plant.shop.blobs.read(ended.bundle)


@needs_bubblewrap
async def test_pip_in_a_command_puts_packages_beside_the_model(plant: Plant, tmp_path: Path) -> None:
    wheel(tmp_path / "index", "latelib")
    command = "pip install -q latelib && test -d /packages/latelib && python -c 'import latelib'"
    ended = await plant.end_of(await plant.request(project(build_commands=[command])))
    assert isinstance(ended, BuildSucceeded), plant.said(ended.build_id)


@needs_bubblewrap
async def test_a_secret_that_a_command_prints_is_masked(plant: Plant) -> None:
    source = project(build_commands=["cat /run/token; exit 1"], build_secrets={"token": "/run/token"})
    ended = await plant.end_of(await plant.request(source))
    assert isinstance(ended, BuildFailed) and ended.reason.endswith("code 1: <secret token>")
    assert not [line for line in plant.said(ended.build_id) if "s3cret" in line]


@needs_bubblewrap
async def test_the_code_of_a_package_that_is_built_is_fenced_too(plant: Plant, tmp_path: Path) -> None:
    spy = (
        "import os\n"
        f"assert not os.path.exists('{tmp_path}/state/secrets'), 'saw the state folder'\n"
        f"assert not os.path.exists('{tmp_path}/home/private'), 'saw the home'\n"
        "raise SystemExit('saw nothing')\n"
    )
    source_distribution(tmp_path / "index", "spylib", spy)
    ended = await plant.end_of(await plant.request(project(requirements=["spylib"])))
    assert isinstance(ended, BuildFailed) and "saw nothing" in ended.reason, ended


async def test_a_sandbox_that_was_asked_for_and_does_not_work_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho no user namespaces; exit 1\n")
    broken.chmod(0o755)
    with pytest.raises(SandboxMissing, match="no user namespaces"):
        await find_fence("bubblewrap", broken)
    with pytest.raises(SandboxMissing, match="no bwrap"):
        await find_fence("bubblewrap", None)
    assert await find_fence("auto", broken) == await find_fence("auto", None) == Fence(None)
    assert await find_fence("process", Path(sys.executable)) == Fence(None)
