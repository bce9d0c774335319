"""Real stacks for tests: started in the background, watched by events, always stopped."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from json import dumps
from pathlib import Path
from typing import TypeVar

from ops.config import CHECKOUT, Settings, load
from ops.local.attach import down, start_detached, status
from ops.local.stack_file import RoleStatus, StackStatus
from tests.ops.mini_stack import Row

GENEROUS_S = 60.0
ELSEWHERE = {
    "CAUSEWAY_NATS_URL": "nats://127.0.0.1:1",
    "CAUSEWAY_POSTGRES_URL": "postgresql://postgres@/postgres?host=/nowhere",
}
SLEEPS = "import os, time; os.write(int(os.environ['CAUSEWAY_READY_FD']), b'ready\\n'); time.sleep(600)"

Found = TypeVar("Found")


def settings_for(state: Path, **variables: str) -> Settings:
    """Settings as a process with these variables would read them; quick restarts, any port."""
    quick = {"CAUSEWAY_RESTART_DELAY_S": "0.02", "CAUSEWAY_STOP_DEADLINE_S": "10", "CAUSEWAY_PORT": "0"}
    return load({"PATH": "/usr/bin:/bin", "CAUSEWAY_STATE": str(state)} | quick | variables)


def start(settings: Settings, rows: list[Row]) -> StackStatus:
    return start_detached(settings, (sys.executable, "-m", "tests.ops.mini_stack", dumps(rows)))


@contextmanager
def running(settings: Settings, rows: list[Row]) -> Iterator[StackStatus]:
    """A stack that is up, and down again afterwards."""
    try:
        yield start(settings, rows)
    finally:
        down(settings)


def eventually(what: Callable[[], Found | None], meaning: str) -> Found:
    """The first true answer; fails with the meaning when there is none for a very long time."""
    deadline = time.monotonic() + GENEROUS_S
    while time.monotonic() < deadline:
        if answer := what():
            return answer
        time.sleep(0.02)
    raise AssertionError(f"never happened: {meaning}")


def role(settings: Settings, name: str) -> RoleStatus:
    """The role as the running stack reports it."""
    now = status(settings)
    assert now is not None, f"no stack runs on {settings.state}"
    return next(each for each in now.roles if each.role == name)


def restarted(settings: Settings, name: str, old_pid: int) -> RoleStatus:
    """Waits until the role is ready in another process."""

    def ready_anew() -> RoleStatus | None:
        found = role(settings, name)
        return found if found.phase == "ready" and found.process and found.process.pid != old_pid else None

    return eventually(ready_anew, f"{name} is ready again after process {old_pid}")


__all__ = ["CHECKOUT", "ELSEWHERE", "SLEEPS", "eventually", "restarted", "role", "running", "settings_for", "start"]
