"""Children that outlived their supervisor: written down while they run, ended by the next start.

The kernel ends them with the supervisor, but a database may still be shutting down, and a machine may have
been told otherwise. Only the exact process that was written down (pid and start) is ever touched.
"""

import signal
from pathlib import Path

import msgspec
from msgspec import Struct

from ops.local.files import read_or_none
from ops.local.processes import Process, stop
from projections.stores.whole import write_whole


class Leftover(Struct, frozen=True):
    """A running child and how it is asked to stop."""

    process: Process
    stop_signal: int = int(signal.SIGTERM)


def remember(run: Path, role: str, leftover: Leftover) -> None:
    """Writes the child down."""
    write_whole(run / f"{role}.pid", msgspec.json.encode(leftover))


def recall(run: Path, role: str) -> Leftover | None:
    """What is written down for the role, if anything that can be read."""
    content = read_or_none(run / f"{role}.pid")
    try:
        return msgspec.json.decode(content, type=Leftover) if content is not None else None
    except msgspec.DecodeError:  # cut off by a full disk, or another version's
        return None


def forget(run: Path, role: str) -> None:
    """Strikes the child out, once it has ended."""
    (run / f"{role}.pid").unlink(missing_ok=True)


def clear(run: Path, deadline_s: float) -> tuple[str, ...]:
    """Ends every child that is still written down; answers the roles that were in fact running.

    Call it with the lock of the run folder held: without it these may be children of a live supervisor.
    """
    ended: list[str] = []
    for file in sorted(run.glob("*.pid")):
        leftover = recall(run, file.stem)
        if leftover and stop(leftover.process, signal.Signals(leftover.stop_signal), deadline_s, group=True):
            ended.append(file.stem)
        forget(run, file.stem)
    return tuple(ended)
