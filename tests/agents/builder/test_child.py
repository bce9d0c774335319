"""A build's child: all its output, only its own environment, and no process left behind."""

import asyncio
import os
from pathlib import Path

import pytest

from agents.effects.child import run_child
from tests.agents.builder.plant import eventually


def alive(pid: str) -> bool:
    return Path(f"/proc/{pid.strip()}").exists()


async def test_output_comes_line_by_line_whatever_its_shape(tmp_path: Path) -> None:
    seen: list[str] = []
    script = (
        "printf 'one\\ntwo\\r  10%%\\r 100%%\\n'; printf '\\377 bytes\\n' >&2; head -c 200000 /dev/zero | tr '\\0' x"
    )
    finished = await run_child(["/bin/sh", "-c", script], env={}, cwd=tmp_path, on_line=seen.append)
    assert seen[:3] == ["one", " 100%", "� bytes"] and sum(map(len, seen[3:])) == 200_000
    assert finished.code == 0 and finished.lines == tuple(seen)


@pytest.mark.parametrize(
    ("command", "code"), [("exit 3", 3), ("kill -9 $$", 137), ("kill -15 $$", 143)], ids=["exits", "killed", "ended"]
)
async def test_the_code_is_the_command_s(tmp_path: Path, command: str, code: int) -> None:
    assert (await run_child(["/bin/sh", "-c", command], env={}, cwd=tmp_path)).code == code


async def test_a_command_that_does_not_exist_says_so(tmp_path: Path) -> None:
    finished = await run_child(["/no/such/thing"], env={}, cwd=tmp_path)
    assert finished.code == 127 and "/no/such/thing cannot be started" in finished.lines[-1]


async def test_its_environment_is_what_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAUSEWAY_SECRET", "x")
    finished = await run_child(["/usr/bin/env"], env={"ONLY": "this"}, cwd=tmp_path)
    assert [line for line in finished.lines if not line.startswith(("LC_CTYPE=", "_="))] == ["ONLY=this"]


async def test_what_it_left_behind_is_killed_when_it_ends(tmp_path: Path) -> None:
    script = "setsid sleep 600 >/dev/null 2>&1 & echo $!"
    finished = await run_child(["/bin/sh", "-c", script], env={"PATH": os.environ["PATH"]}, cwd=tmp_path)
    assert finished.code == 0 and not alive(finished.lines[0])


async def test_cancelling_kills_all_of_it_before_it_returns(tmp_path: Path) -> None:
    seen: list[str] = []
    script = "trap '' TERM INT; setsid sleep 600 & echo $!; wait; wait"
    child = asyncio.create_task(
        run_child(["/bin/sh", "-c", script], env={"PATH": os.environ["PATH"]}, cwd=tmp_path, on_line=seen.append)
    )
    await eventually(lambda: bool(seen))
    child.cancel()
    with pytest.raises(asyncio.CancelledError):
        await child
    assert not alive(seen[0])
