"""Runs one command and lets none of its processes outlive it, or us. A script on its own: `warden.py COMMAND…`.

It becomes the reaper of all descendants, even those that left their session, and holds the read end of a pipe on
standard input. When the command ends, or when the pipe does (its parent is gone, even by kill -9, or wants it to
stop), it kills whatever is left and exits with the command's code, 128 + n when signal n ended it.
"""

import ctypes
import os
import resource
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
STOPPED = 143
NOT_RUN = 127


def main(command: list[str]) -> int:
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    os.nice(5)  # A build never takes the processor from a replica that serves.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        print(f"{command[0]} cannot be started: {error.strerror}", flush=True)
        return NOT_RUN
    ended = _wait_for_end(child.pid)
    code = child.wait() if ended else STOPPED
    _kill_descendants()
    return code if code >= 0 else 128 - code


def _wait_for_end(pid: int) -> bool:
    """True: the command has ended. False: our parent wants no more of it."""
    ended, gone = os.pidfd_open(pid), sys.stdin.fileno()
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(gone, select.POLLIN | select.POLLHUP)
    ready = {handle for handle, _ in poll.poll()}
    return ended in ready


def _kill_descendants() -> None:
    """Level by level: who loses a killed parent becomes our child."""
    while True:
        for pid in _children():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue  # It ended by itself.
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.005)


def _children() -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # It ended while we looked.
        if parent == os.getpid():
            found.append(int(stat.parent.name))
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
