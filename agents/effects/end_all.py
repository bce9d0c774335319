"""Ends whatever replicas of a state folder still live, for `causeway down`: with the plane goes all that it started.

Replicas outlive their agent by design, so somebody has to end them when no agent comes back. Only when none runs. The
next agent finds that they were asked to end, and reports it so.
"""

import time
from pathlib import Path

from agents.effects.keeper import kill, terminate
from agents.effects.replica_folder import ReplicaFolder

WORDS = "the plane was stopped, and this replica with it\n"
"""The next agent reads them, and gives them as the reason."""
_PAUSE_S = 0.02
_REASON = "the stack was shut down"


def end_all(replicas: Path, grace_s: float) -> tuple[str, ...]:
    """Asks every replica to finish and end, kills what has not after `grace_s`, and names those that lived. Blocks."""
    alive = [folder for path in sorted(replicas.glob("*/")) if (folder := ReplicaFolder(path)).is_kept()]
    for folder in alive:
        folder.mark_asked(_REASON)
        terminate(folder)
    _wait(alive, grace_s)
    for folder in alive:
        record = folder.record()
        if record is not None:
            kill(folder, record)
    _wait(alive, grace_s)
    for folder in alive:
        with folder.output.open("a") as output:
            output.write(WORDS)
    return tuple(folder.path.name for folder in alive)


def _wait(folders: list[ReplicaFolder], deadline_s: float) -> None:
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline and any(folder.is_kept() for folder in folders):
        time.sleep(_PAUSE_S)
