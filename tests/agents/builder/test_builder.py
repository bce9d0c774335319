"""Builds from request to end: what succeeds, what is reused, what fails and says why, what is stopped."""

import asyncio
import io
import json
import re
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agents.effects.folders import remove
from events.base import BlobDigest
from events.build import BuildFailed, BuildStarted, BuildStopped, BuildSucceeded
from events.log.memory import MemoryLog
from handlers.deciders.build import StopBuild
from tests.agents.builder.local_index import wheel
from tests.agents.builder.plant import Plant, eventually, identity, project, project_tar, workshop


@pytest.fixture
def index(tmp_path: Path) -> Path:
    wheel(tmp_path / "index", "tinylib")
    return tmp_path / "index"


@pytest.fixture
async def plant(tmp_path: Path, index: Path) -> AsyncIterator[Plant]:
    state = tmp_path / "state"
    async with Plant(MemoryLog(), workshop(state, index=index), state).running() as plant:
        yield plant
    assert not any(plant.shop.scratch.iterdir())


async def members(plant: Plant, digest: BlobDigest) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(await plant.shop.blobs.read(digest))) as tar:
        files = [(member, tar.extractfile(member)) for member in tar]
        return {member.name: body.read() for member, body in files if body is not None}


async def test_a_push_becomes_a_bundle_and_an_environment_step_by_step(plant: Plant) -> None:
    build = await plant.request(project(requirements=["tinylib"], build_commands=["echo made > made.txt"]))
    ended = await plant.end_of(build)
    assert isinstance(ended, BuildSucceeded), ended
    steps = await plant.steps_of(build)
    assert [step.step for step in steps] == ["unpack", "context", "resolve", "environment", "commands", "package"]
    assert not any(step.reused for step in steps) and all(step.seconds >= 0 and step.detail for step in steps)
    found = await members(plant, ended.bundle)
    assert found["app/made.txt"] == b"made\n" and json.loads(found["bundle.json"])["truss_hash"] == ended.truss_hash
    assert b"tinylib==1.0" in await plant.shop.blobs.read(ended.environment)
    environment = await plant.shop.environments.ensure(plant.shop.blobs.path(ended.environment), ended.python_version)
    assert environment.reused and list(environment.path.rglob("tinylib"))
    said = plant.said(build)
    assert said[0] == "build b1 started" and "warning: a warning of the tools" in said
    assert said[-1].startswith("build succeeded")


async def test_the_same_project_again_reuses_everything_and_gives_the_same_bundle(plant: Plant) -> None:
    source = project(requirements=["tinylib"])
    first = await plant.end_of(await plant.request(source, "b1"))
    second = await plant.end_of(await plant.request(source, "b2"))
    assert isinstance(first, BuildSucceeded) and isinstance(second, BuildSucceeded)
    assert (first.bundle, first.environment) == (second.bundle, second.environment)
    reused = {step.step: step.reused for step in await plant.steps_of(second.build_id)}
    assert reused["resolve"] and reused["environment"]


async def test_what_is_pushed_without_cache_is_resolved_anew(plant: Plant, index: Path) -> None:
    source = project(requirements=["tinylib"])
    first = await plant.end_of(await plant.request(source, "b1"))
    wheel(index, "tinylib", "2.0")
    again = await plant.end_of(await plant.request(source, "b2"))
    anew = await plant.end_of(await plant.request(source, "b3", config=b'{"build": {"no_cache": true}}'))
    odd = await plant.end_of(await plant.request(source, "b4", config=b'{"build": {"no_cache": "perhaps"}}'))
    assert isinstance(first, BuildSucceeded) and isinstance(again, BuildSucceeded) and isinstance(anew, BuildSucceeded)
    assert first.environment == again.environment != anew.environment
    assert b"tinylib==2.0" in await plant.shop.blobs.read(anew.environment)
    reused = {step.step: step.reused for step in await plant.steps_of(anew.build_id)}
    assert not reused["resolve"]
    assert isinstance(odd, BuildFailed) and "no_cache" in odd.reason


async def test_two_identical_builds_at_once_make_one_environment(plant: Plant) -> None:
    source = project(requirements=["tinylib"])
    builds = [await plant.request(source, name) for name in ("b1", "b2")]
    ends = await asyncio.gather(*(plant.end_of(build) for build in builds))
    bundles = {end.bundle for end in ends if isinstance(end, BuildSucceeded)}
    steps = [step for build in builds for step in await plant.steps_of(build) if step.step == "environment"]
    assert len(ends) == 2 and len(bundles) == 1
    assert sorted(step.reused for step in steps) == [False, True]


FAILING = {
    "unresolvable requirement": (
        project(requirements=["no-such-package-anywhere"]), "resolve", "no-such-package-anywhere",
    ),
    "bad config": (project_tar({"config.yaml": "{"}), "context", "config.yaml cannot be read .* write valid YAML"),
    "absent python": (project(python_version="3.99"), "resolve", r"python_version: Python 3\.99 .* here are"),
    "failing command": (
        project(build_commands=["true", "echo alas; exit 3"]), "commands", r"command 2 .* code 3: alas",
    ),
    "absent system package": (
        project(system_packages=["no-such-deb-anywhere"]), "commands", r"apt-get install no-such-deb-anywhere",
    ),
    "secret without a fence": (
        project(build_secrets={"token": "/run/token"}, build_commands=["true"]), "commands",
        "secret token is not set",
    ),
    "no tar": (b"this is no tar at all" * 60, "unpack", "cannot be read .* push again"),
    "fetching elsewhere": (
        project(external_data=[{"url": "file:///etc/passwd", "local_data_path": "p"}]), "context",
        "must begin with https",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAILING)
async def test_what_cannot_be_built_fails_in_its_step_with_a_line_that_helps(plant: Plant, name: str) -> None:
    source, step, words = FAILING[name]
    ended = await plant.end_of(await plant.request(source))
    assert isinstance(ended, BuildFailed)
    assert ended.step == step and "\n" not in ended.reason
    assert re.search(words, ended.reason), ended.reason
    assert any(ended.reason in line for line in plant.said(ended.build_id))


async def test_an_archive_that_is_gone_fails_and_says_so(plant: Plant) -> None:
    ended = await plant.end_of(await plant.request(BlobDigest("sha256:" + "0" * 64)))
    assert isinstance(ended, BuildFailed)
    assert ended.step == "unpack" and "no blob sha256:000" in ended.reason


async def test_a_build_that_nobody_needs_any_more_is_stopped_with_all_its_processes(
    plant: Plant, tmp_path: Path
) -> None:
    started = tmp_path / "started"
    command = f"setsid sh -c 'echo $$ > {started}.tmp; mv {started}.tmp {started}; sleep 600'"
    build = await plant.request(project(build_commands=[command]))
    await eventually(started.exists)
    await plant.send(StopBuild(**identity("stop"), build_id=build, reason="deactivated"))
    assert isinstance(await plant.end_of(build), BuildStopped)
    pid = started.read_text().strip()
    await eventually(lambda: not Path(f"/proc/{pid}").exists() and not any(plant.shop.scratch.iterdir()))
    await eventually(lambda: plant.said(build)[-1] == "warning: build stopped")


async def test_a_build_of_another_builder_is_left_alone(plant: Plant, tmp_path: Path, index: Path) -> None:
    other_state = tmp_path / "other"
    other = Plant(plant.log, workshop(other_state, index=index), other_state, name="node-2")
    remove(other.shop.blobs.root)
    other.shop.blobs.root.symlink_to(plant.shop.blobs.root)
    async with other.running():
        builds = [await plant.request(project(number=n), f"b{n}") for n in range(4)]
        ends = await asyncio.gather(*(plant.end_of(build) for build in builds))
    assert all(isinstance(end, BuildSucceeded) for end in ends)
    starts = [r.event for r in await plant.log.read() if isinstance(r.event, BuildStarted)]
    assert sorted(start.build_id for start in starts) == builds


async def test_a_build_that_takes_longer_than_its_deploy_timeout_is_ended(plant: Plant) -> None:
    deployment_id = await plant.push(deploy_timeout_s=2)
    source = project(build_commands=["sleep 600"])
    ended = await plant.end_of(await plant.request(source, deployment_id=deployment_id))
    assert isinstance(ended, BuildFailed)
    assert ended.reason == "not done within the deploy timeout of 2 s: allow it more"
