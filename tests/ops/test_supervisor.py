"""The supervisor with tiny real children: they are kept running, and none is ever left behind."""

import os
import signal
from pathlib import Path

import pytest

from ops.local.attach import NotUp, attached, down, status
from ops.local.processes import Process, identify, is_alive, wait_gone
from ops.local.supervisor import StartFailed
from tests.ops.stacks import (
    ELSEWHERE,
    SLEEPS,
    restarted,
    role,
    running,
    settings_for,
    start,
)

PAIR = [("first", [], SLEEPS), ("second", ["first"], SLEEPS)]


def test_a_dead_child_is_started_again_and_the_others_are_left_alone(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, **ELSEWHERE)
    with running(settings, PAIR) as stack:
        os.kill(stack.pids["first"], signal.SIGKILL)
        again = restarted(settings, "first", stack.pids["first"])
        assert (again.restarts, again.last_exit) == (1, "was killed by SIGKILL")
        assert role(settings, "second").process == next(r.process for r in stack.roles if r.role == "second")


def test_children_die_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, **ELSEWHERE)
    stack = start(settings, PAIR)
    children = [each.process for each in stack.roles if each.process]
    os.kill(stack.supervisor.pid, signal.SIGKILL)
    assert len(children) == 2
    assert all(wait_gone(child, 30) for child in children)
    assert status(settings) is None
    with running(settings, PAIR) as next_stack:
        assert next_stack.ready


def test_what_a_child_started_in_a_session_of_its_own_survives_the_child(tmp_path: Path) -> None:
    """That is how replicas outlive the node agent; whatever else the child started goes with it."""
    pids = tmp_path / "pids"
    source = f"""
import os, pathlib, subprocess, time
pids = pathlib.Path({str(pids)!r})
if not pids.exists():
    apart = subprocess.Popen(["sleep", "600"], start_new_session=True)
    along = subprocess.Popen(["sleep", "600"])
    pids.write_text(f"{{apart.pid}} {{along.pid}}")
{SLEEPS}
"""
    settings = settings_for(tmp_path, **ELSEWHERE)
    with running(settings, [("node", [], source)]) as stack:
        apart, along = (identify(int(pid)) for pid in pids.read_text().split())
        assert apart and along
        try:
            os.kill(stack.pids["node"], signal.SIGKILL)
            restarted(settings, "node", stack.pids["node"])
            assert wait_gone(along, 30)
            assert is_alive(apart)
        finally:
            os.kill(apart.pid, signal.SIGKILL)


def test_down_stops_everything_dependents_first_and_says_so(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, **ELSEWHERE)
    say = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit('{0} stops')); " + SLEEPS
    stack = start(settings, [(r, a, say.format(r)) for r, a in (("first", []), ("second", ["first"]))])
    everyone = [stack.supervisor, *(each.process for each in stack.roles if each.process)]
    assert down(settings) is True
    assert not any(is_alive(each) for each in everyone)
    lines = (tmp_path / "logs" / "supervisor.log").read_text()
    assert lines.rstrip().endswith("down")
    assert "first stops" in (tmp_path / "logs" / "first.log").read_text()
    assert list((tmp_path / "run").glob("*.pid")) == []
    assert down(settings) is False
    with pytest.raises(NotUp, match="causeway up"):
        attached(settings)


def test_a_second_up_on_the_same_state_folder_is_refused(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, **ELSEWHERE)
    with running(settings, PAIR) as stack:
        with pytest.raises(StartFailed, match=f"already runs on .*pid {stack.supervisor.pid}.*causeway down"):
            start(settings, PAIR)
        assert status(settings) is not None


def test_two_stacks_run_at_once_in_two_state_folders(tmp_path: Path) -> None:
    one, two = settings_for(tmp_path / "one", **ELSEWHERE), settings_for(tmp_path / "two", **ELSEWHERE)
    with running(one, PAIR) as first, running(two, PAIR) as second:
        assert first.url != second.url
        assert down(one)
        assert role(two, "first").phase == "ready"


def test_a_restart_keeps_the_url(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, **ELSEWHERE)
    with running(settings, PAIR) as stack:
        before = stack.url
    with running(settings, PAIR) as stack:
        assert stack.url == before
        assert attached(settings).origin == before


def test_a_child_that_never_comes_up_ends_the_start_with_its_last_words(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, **ELSEWHERE)
    with pytest.raises(StartFailed, match=r"(?s)second died 6 times .*exited with 3.*the table is bare"):
        start(settings, [PAIR[0], ("second", ["first"], "import sys; print('the table is bare'); sys.exit(3)")])
    assert status(settings) is None


def test_a_child_that_ignores_the_request_to_stop_is_killed(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, **ELSEWHERE, CAUSEWAY_STOP_DEADLINE_S="0.3")
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPS
    stack = start(settings, [("deaf", [], deaf)])
    assert down(settings)
    assert not any(is_alive(each.process) for each in stack.roles if each.process)


def test_a_recycled_pid_is_not_mistaken_for_the_process_that_had_it() -> None:
    me = identify(os.getpid())
    assert me is not None
    assert is_alive(me)
    assert not is_alive(Process(pid=me.pid, started="an earlier boot/1"))
