"""A capsule decided again by the code of a checkout, in a process of its own."""

import asyncio
import shutil
from pathlib import Path

import pytest

from events.base import ORIGIN, Position
from events.codec import Recorded
from ops.capsule.export import export
from ops.capsule.file import read
from ops.capsule.redecide import CodeFailed, again, by_code_in
from ops.config import CHECKOUT
from tests.capsule.test_capsule import NOW
from tests.histories import copied, two_versions_of_iris
from tests.ops.cli_runs import Shell
from tests.ops.test_cli_history import EVENTS

CODE = ("events", "projections", "handlers", "gateway", "ops")


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    log = await two_versions_of_iris()
    await export(log, ORIGIN, await log.head(), tmp_path / "c", NOW)
    return tmp_path / "c"


async def test_this_checkout_decides_it_the_same(file: Path) -> None:
    found = await by_code_in(CHECKOUT, file)
    assert found == again(read(file))
    assert found.differences == () and found.reactors_asked


async def test_one_that_begins_later_is_decided_from_its_states(tmp_path: Path) -> None:
    log = await two_versions_of_iris()
    await export(log, Position(20), await log.head(), tmp_path / "c", NOW)
    found = again(read(tmp_path / "c"))
    assert found.differences == () and found.alike > 0 and not found.reactors_asked


async def test_other_code_is_asked_in_its_own_folder(file: Path, tmp_path: Path) -> None:
    for name in CODE:
        shutil.copytree(CHECKOUT / name, tmp_path / "other" / name, ignore=shutil.ignore_patterns("__pycache__"))
    rules = tmp_path / "other" / "handlers" / "deciders" / "replica.py"
    before = "if isinstance(command, DrainReplica):"
    assert before in rules.read_text()
    rules.write_text(rules.read_text().replace(before, f"{before}\n        return ()\n    if False:"))
    found = await by_code_in(tmp_path / "other", file)
    assert {each.kind for each in found.differences} == {"nothing decided"}
    assert {each.recorded[0]["type"] for each in found.differences} == {"ReplicaDraining"}
    assert (await by_code_in(CHECKOUT, file)).differences == ()


async def test_a_folder_without_such_code_is_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(CodeFailed, match="is no checkout"):
        await by_code_in(tmp_path, file)


def test_as_typed(tmp_path: Path) -> None:
    plane = Shell(tmp_path, EVENTS)
    plane.run(f"capsule export {tmp_path}/c")
    same = plane.run(f"capsule replay {tmp_path}/c --with-code {CHECKOUT}")
    assert same.code == 0 and "0 otherwise, 0 not decided again" in same.out
    assert plane.run(f"capsule replay {tmp_path}/c -o json").json["differences"] == []
    late = tuple(each for each in EVENTS if each.meta.actor.name != "reactor:bring_up")
    renumbered = asyncio.run(_renumbered(late))
    changed = Shell(tmp_path / "changed", renumbered)
    changed.run(f"capsule export {tmp_path}/d")
    differs = changed.run(f"capsule replay {tmp_path}/d")
    assert differs.code == 1 and " otherwise, " in differs.out and "        - " in differs.out


async def _renumbered(events: tuple[Recorded, ...]) -> tuple[Recorded, ...]:
    return await (await copied(events)).read()
