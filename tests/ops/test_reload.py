"""A reload with tiny real children that share the listening socket: no connection is refused or reset."""

import os
import signal
import socket
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ops.local.attach import down, reload, status
from ops.local.processes import is_alive
from ops.local.requests import RequestFailed
from tests.ops.stacks import ELSEWHERE, SLEEPS, eventually, restarted, role, running, settings_for, start

SERVES = """
import os, selectors, signal, socket, sys
listening = socket.socket(fileno=int(os.environ["CAUSEWAY_LISTEN_FD"]))
listening.settimeout(0.02)
drained = []
signal.signal(signal.SIGUSR2, lambda *_: drained.append(1))
os.write(int(os.environ["CAUSEWAY_READY_FD"]), b"ready\\n")
while not drained:
    try:
        caller, _ = listening.accept()
    except TimeoutError:
        continue
    caller.settimeout(None)
    caller.recv(1)
    caller.sendall(b"%d" % os.getpid())
    caller.close()
while os.path.exists(FINISHING):
    signal.sigtimedwait([], 0.02)
"""
TELL: list[str] = []


def serves(finishing: Path) -> str:
    return SERVES.replace("FINISHING", repr(str(finishing)))


def ask(url: str) -> int:
    """The pid that answers."""
    port = urlsplit(url).port
    with socket.create_connection(("127.0.0.1", port or 0), timeout=60) as caller:
        caller.sendall(b"?")
        said = b""
        while got := caller.recv(100):
            said += got
    return int(said)


def test_a_reload_replaces_every_worker_and_no_caller_notices(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, **ELSEWHERE)
    source, asked, over = serves(tmp_path / "never"), [], threading.Event()
    with running(settings, [("gateway", [], source), ("gateway-2", [], source)]) as stack:

        def keep_asking() -> None:
            while not over.is_set():
                asked.append(ask(stack.url))

        callers = [threading.Thread(target=keep_asking) for _ in range(3)]
        for caller in callers:
            caller.start()
        old = {stack.pids["gateway"], stack.pids["gateway-2"]}
        told: list[str] = []
        reload(settings, "gateway", told.append)
        now = status(settings)
        assert now is not None
        new = {now.pids["gateway"], now.pids["gateway-2"]}
        eventually(lambda: set(asked[-20:]) <= new and len(asked) > 20, "only the new processes answer")
        over.set()
        for caller in callers:
            caller.join()
        assert not old & new
        assert len(told) == 2
        assert set(asked) <= old | new
        eventually(lambda: not role(settings, "gateway").draining, "the old process has ended")
        assert role(settings, "gateway").restarts == 0


def test_a_caller_who_connects_while_the_only_worker_is_dead_is_served_by_the_next(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, **ELSEWHERE | {"CAUSEWAY_RESTART_DELAY_S": "0.4"})
    with running(settings, [("gateway", [], serves(tmp_path / "never"))]) as stack:
        os.kill(stack.pids["gateway"], signal.SIGKILL)
        assert ask(stack.url) != stack.pids["gateway"]
        restarted(settings, "gateway", stack.pids["gateway"])


def test_the_old_process_may_finish_and_its_successor_is_kept_alive_meanwhile(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, **ELSEWHERE)
    finishing = tmp_path / "finishing"
    finishing.touch()
    with running(settings, [("gateway", [], serves(finishing))]) as stack:
        reload(settings, "gateway", TELL.append)
        second = role(settings, "gateway")
        assert second.draining == (stack.pids["gateway"],)
        assert second.process is not None
        os.kill(second.process.pid, signal.SIGKILL)
        third = restarted(settings, "gateway", second.process.pid)
        assert third.draining == (stack.pids["gateway"],)
        finishing.unlink()
        eventually(lambda: not role(settings, "gateway").draining, "the first process has ended")
        assert role(settings, "gateway").phase == "ready"


def test_down_ends_processes_that_still_finish(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, **ELSEWHERE)
    finishing = tmp_path / "finishing"
    finishing.touch()
    stack = start(settings, [("gateway", [], serves(finishing))])
    reload(settings, "gateway", TELL.append)
    everyone = [each.process for each in stack.roles if each.process]
    assert down(settings)
    assert not any(is_alive(each) for each in everyone)
    assert list((tmp_path / "run").glob("*.pid")) == []


def test_a_new_process_that_does_not_come_up_leaves_the_old_one_serving(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, **ELSEWHERE)
    broken = tmp_path / "broken"
    source = f"import os, sys\nif os.path.exists({str(broken)!r}): sys.exit('the new code is broken')\n"
    with running(settings, [("gateway", [], source + serves(tmp_path / "never"))]) as stack:
        broken.touch()
        with pytest.raises(RequestFailed, match="the new code is broken"):
            reload(settings, "gateway", TELL.append)
        assert ask(stack.url) == stack.pids["gateway"]


def test_a_role_that_cannot_overlap_is_not_reloaded(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, **ELSEWHERE)
    with running(settings, [("gateway", [], SLEEPS), ("first", [], SLEEPS)]):
        with pytest.raises(RequestFailed, match="'first' cannot be replaced while it runs; only gateway can"):
            reload(settings, "first", TELL.append)
        with pytest.raises(RequestFailed, match="'third' cannot"):
            reload(settings, "third", TELL.append)


def test_after_down_nobody_waits_in_a_queue(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, **ELSEWHERE)
    with running(settings, [("gateway", [], serves(tmp_path / "never"))]) as stack:
        url = stack.url
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            ask(url)
        except ConnectionRefusedError:
            return
    raise AssertionError("somebody still listens")
