"""Why a replica's process ended, from all that is left of it: who asked, the kernel, its exit code, its last words."""

import signal
from pathlib import Path

from agents.effects import Exited
from agents.effects.limits import ran_out_of_memory
from agents.effects.output import Output
from agents.effects.replica_folder import Record, ReplicaFolder


def how_it_ended(folder: ReplicaFolder, record: Record, output: Output) -> Exited:
    """The reason somebody gave, else what the machine knows, else its own last words."""
    code, said = folder.exit_code(), output.last_words()
    if (reason := folder.asked_to_end()) is not None:
        return Exited(code, reason, asked=True)
    groups = [Path(group) for group in record.cgroups]
    if ran_out_of_memory(groups):
        return Exited(code, "ran out of memory: it needs more than its resources.memory allows")
    if code is None:
        return Exited(None, "ended while no agent was watching: the machine restarted or its keeper was killed")
    taken = "address already in use" in output.tail().lower() and not folder.was_ready()
    if code > 128:
        said = _by_signal(code - 128, said, folder.was_ready())
    return Exited(code, said or f"exited with code {code} and said nothing", port_taken=taken)


def _by_signal(number: int, said: str, was_ready: bool) -> str:
    """One that fails to load is killed by truss itself, having said why; later words may be about anything."""
    names = {each.value: each.name for each in signal.Signals}
    ended = f"ended by signal {number} ({names.get(number, 'unknown')})"
    if not said:
        return ended
    return f"{ended}; it last said: {said}" if was_ready else f"{said}; {ended}"
