"""`state/run/stack.json`: what the supervisor of a state folder is doing, for any other process to read.

The file says what was; whether it still holds is asked of the kernel, by pid and start. It also carries the
resolved settings (with the password of the local NATS), so the run folder is its owner's only.
"""

from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from ops.local.files import read_or_none
from ops.local.processes import Process, is_alive
from projections.stores.whole import write_whole

Phase = Literal["waiting", "starting", "ready", "backing off", "stopping", "stopped"]


class RoleStatus(Struct, frozen=True):
    """One child as of the last change."""

    role: str
    phase: Phase = "waiting"
    process: Process | None = None
    since: datetime | None = None
    restarts: int = 0
    last_exit: str | None = None
    draining: tuple[int, ...] = ()
    """Pids of runs that were replaced and still finish what they had begun."""


class StackStatus(Struct, frozen=True):
    """The whole stack. `settings` are the resolved variables that any process of this stack runs with."""

    supervisor: Process
    ready: bool
    roles: tuple[RoleStatus, ...]
    url: str
    notes: tuple[str, ...]
    settings: dict[str, str]

    @property
    def pids(self) -> dict[str, int]:
        """Pid by role, of the children that run."""
        return {each.role: each.process.pid for each in self.roles if each.process is not None}


def write_status(run: Path, status: StackStatus) -> None:
    """Replaces the file."""
    write_whole(run / "stack.json", msgspec.json.format(msgspec.json.encode(status)))


def read_status(run: Path) -> StackStatus | None:
    """The running stack of this run folder, or None: a stack without its supervisor does not count."""
    content = read_or_none(run / "stack.json")
    if content is None:
        return None
    try:
        status = msgspec.json.decode(content, type=StackStatus)
    except msgspec.DecodeError:  # written by another version: not ours to understand
        return None
    return status if is_alive(status.supervisor) else None
