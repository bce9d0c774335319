"""The commands about starting and scaling, as typed."""

import asyncio
from pathlib import Path

import pytest

from events.codec import Recorded
from tests.histories import two_versions_of_iris
from tests.ops.cli_runs import Shell


async def _events() -> tuple[Recorded, ...]:
    return await (await two_versions_of_iris()).read()


EVENTS = asyncio.run(_events())


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path, EVENTS)


def test_coldstart_prints_the_stages_and_marks_the_slowest(shell: Shell) -> None:
    answer = shell.run("coldstart iris/deployment-2")
    assert answer.code == 0
    (slowest,) = (line for line in answer.out.splitlines() if "slowest" in line)
    assert slowest.split()[0:2] == ["model", "loaded"]
    assert "2 starts" in answer.out
    assert shell.run("coldstart iris/deployment-2 -n 1 -o json").json["starts"] == 1
    assert shell.run("coldstart nothing").code != 0
