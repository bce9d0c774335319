"""Which process is meant: a pid together with its start, so that a recycled pid is never mistaken for it.

A pid alone names a different process after a crash or a reboot. The start (boot id and clock ticks, from
/proc) settles it, and signals go through a pidfd that was opened before the start was compared.
"""

import os
import select
import signal
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Process(Struct, frozen=True):
    """One process of this machine, past or present."""

    pid: int
    started: str


def identify(pid: int) -> Process | None:
    """The process that has this pid now; None if there is none, or only its unreaped remains."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the program's name in brackets and may itself hold brackets and blanks.
    state, *rest = stat.rpartition(")")[2].split()
    if state in "ZX":
        return None
    return Process(pid=pid, started=f"{BOOT_ID.read_text().strip()}/{rest[18]}")


def myself() -> Process:
    """This process."""
    found = identify(os.getpid())
    assert found is not None, "/proc is not mounted"
    return found


def is_alive(process: Process) -> bool:
    """Whether exactly this process still runs."""
    return identify(process.pid) == process


def stop(process: Process, first: signal.Signals, deadline_s: float, *, group: bool) -> bool:
    """Sends `first`, waits, then kills, with its process `group` if told so; False if it was gone already."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        if not is_alive(process):
            return False
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, first)
        if not _gone(handle, deadline_s):
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                if group and os.getpgid(process.pid) == process.pid:
                    os.killpg(process.pid, signal.SIGKILL)
            _gone(handle, deadline_s)
        return True
    finally:
        os.close(handle)


def wait_gone(process: Process, deadline_s: float) -> bool:
    """Waits until this process has ended; False if it still runs at the deadline."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return True
    try:
        return not is_alive(process) or _gone(handle, deadline_s)
    finally:
        os.close(handle)


def _gone(handle: int, deadline_s: float) -> bool:
    watch = select.poll()
    watch.register(handle, select.POLLIN)
    return bool(watch.poll(deadline_s * 1000))
