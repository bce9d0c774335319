"""Control groups of both versions: the real ones where they can be made, the files' content elsewhere."""

import subprocess
from pathlib import Path

import pytest

from agents.effects.limits import Limits, find_limits, join_files, members, ran_out_of_memory, remove_group


def test_version_2_is_asked_for_memory_and_cpu_by_its_files(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    (group,) = Limits("v2", (tmp_path,)).make("r-1", 500, 1 << 28)
    assert (group / "memory.max").read_text() == f"{1 << 28}\n"
    assert (group / "cpu.max").read_text() == "50000 100000\n"
    (group / "memory.events").write_text("low 0\nhigh 0\nmax 9\noom 1\noom_kill 0\n")
    assert not ran_out_of_memory([group])
    (group / "memory.events").write_text("low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\n")
    assert ran_out_of_memory([group])


def test_a_machine_without_control_groups_has_no_limits(tmp_path: Path) -> None:
    limits = find_limits(tmp_path / "nothing", tmp_path / "none")
    assert limits.version == "none" and limits.make("r-1", 1000, 1) == ()


def test_a_real_group_holds_the_process_that_joins_and_is_removed(tmp_path: Path) -> None:
    limits = find_limits()
    if limits.version == "none":
        pytest.skip("no control groups can be made here")
    groups = limits.make(f"test-{tmp_path.name}-{id(tmp_path)}", 1000, 1 << 28)
    joined = "; ".join(f"echo $$ > {file}" for file in join_files(groups))
    child = subprocess.Popen(["/bin/sh", "-c", f"{joined}; echo in; read end"], stdin=-1, stdout=-1)
    assert child.stdin is not None and child.stdout is not None and child.stdout.readline() == b"in\n"
    assert members(groups) == {child.pid}
    with pytest.raises(OSError):
        remove_group(groups[0])
    child.communicate(b"\n")
    for group in groups:
        remove_group(group)
    assert members(groups) == set() and not ran_out_of_memory(groups)
