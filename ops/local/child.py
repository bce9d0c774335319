"""One process of the local stack as data, and the one way to start it.

A child runs in a process group of its own, reads nothing from the terminal, inherits no variable that is not
in its table row, and is killed by the kernel when the supervisor dies, however it dies. What a child starts
in a *session* of its own (the node agent's replicas) is out of reach of all that, and survives.
"""

import ctypes
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ops.local.os_user import OsUser

Probe = Callable[[], Awaitable[bool]]

PR_SET_PDEATHSIG = 1
READY_FD_VARIABLE = "CAUSEWAY_READY_FD"
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Child:
    """A row of the child table."""

    role: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    ready: Probe | None = None  # None: the child says so itself, by `readiness.announce`
    after: tuple[str, ...] = ()
    user: OsUser | None = None
    cwd: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    orphan_signal: signal.Signals = signal.SIGKILL
    drain_signal: signal.Signals | None = None  # "finish, take nothing new"; None: two runs of it must not overlap
    fds: tuple[int, ...] = ()  # descriptors of ours that it inherits under the same numbers


@dataclass(frozen=True)
class Started:
    """A child that runs: the process, what it prints, and where it says that it is ready."""

    popen: subprocess.Popen[bytes]
    output: int
    ready: int


def start(child: Child) -> Started:
    """Starts the child; raises OSError if its command cannot be run."""
    output, output_end = os.pipe2(os.O_CLOEXEC)
    ready, ready_end = os.pipe2(os.O_CLOEXEC)
    try:
        popen = subprocess.Popen(
            child.command,
            env=dict(child.env) | ({READY_FD_VARIABLE: str(ready_end)} if child.ready is None else {}),
            cwd=child.cwd,
            stdin=subprocess.DEVNULL,
            stdout=output_end,
            stderr=output_end,
            pass_fds=(ready_end, *child.fds),
            process_group=0,
            user=child.user.uid if child.user else None,
            group=child.user.gid if child.user else None,
            extra_groups=[] if child.user else None,
            # Runs after the change of user, which clears the setting; we have one thread, so it is safe.
            preexec_fn=_die_with(os.getpid(), child.orphan_signal),
        )
    except BaseException:
        os.close(output)
        os.close(ready)
        raise
    finally:
        os.close(output_end)
        os.close(ready_end)
    return Started(popen=popen, output=output, ready=ready)


def _die_with(parent: int, orphan_signal: signal.Signals) -> Callable[[], None]:
    def arm() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, int(orphan_signal), 0, 0, 0)
        if os.getppid() != parent:  # it died before we asked to be told
            os._exit(1)

    return arm
