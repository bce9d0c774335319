"""Starts a replica's processes so that they outlive the agent, and tells any later agent how they ended.

Between agent and server stands a keeper: a small shell in a session of its own that holds the replica's lock, starts
the server, waits for it, writes its exit code, and takes along whatever is left of its group.
"""

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from agents.effects.limits import members
from agents.effects.replica_folder import Keeper, Record, ReplicaFolder

MARKER_VARIABLE = "CAUSEWAY_REPLICA"
_BEGIN_DEADLINE_S = 10.0

# Standard input is the lock. $1 is the folder; then what to join (cgroup.procs files), `--`, and the command.
_SCRIPT = """
folder=$1; shift
while [ "$1" != -- ]; do echo $$ > "$1" || exit 125; shift; done; shift
"$@" < /dev/null &
echo "$$ $!" > "$folder/process.aside" && mv "$folder/process.aside" "$folder/process"
wait $!
echo $? > "$folder/exit.aside" && mv "$folder/exit.aside" "$folder/exit"
kill -KILL 0
"""


class KeeperFailed(Exception):
    """The process did not begin."""


async def begin(
    folder: ReplicaFolder,
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    cwd: Path,
    join: Sequence[Path] = (),
) -> tuple[Keeper, subprocess.Popen[bytes]]:
    """Raises KeeperFailed, and RuntimeError when the replica runs already."""
    lock = folder.take_lock()
    if lock is None:
        raise RuntimeError(f"{folder.path.name} is started while it runs")
    arguments = ["/bin/sh", "-c", _SCRIPT, "keeper", folder.path, *join, "--", *command]
    with open(lock, "rb"), folder.output.open("ab") as output:
        # Not asyncio's: its processes are tied to the loop, this one outlives it.
        popen = subprocess.Popen(  # noqa: ASYNC220
            arguments, env=dict(env), cwd=cwd, stdin=lock, stdout=output, stderr=output, start_new_session=True
        )
    keeper = await begun(folder, popen)
    if keeper is None:
        raise KeeperFailed(f"the process did not begin (exit code {popen.poll()})")
    return keeper, popen


async def begun(folder: ReplicaFolder, popen: subprocess.Popen[bytes] | None = None) -> Keeper | None:
    """What was started, once its keeper has said so."""
    deadline = asyncio.get_running_loop().time() + _BEGIN_DEADLINE_S
    while (keeper := folder.keeper()) is None:
        ended = not folder.is_kept() if popen is None else popen.poll() is not None
        if (ended and folder.keeper() is None) or asyncio.get_running_loop().time() > deadline:
            return None
        await asyncio.sleep(0.002)
    return keeper


async def gone(folder: ReplicaFolder) -> None:
    """Returns when its keeper has ended: at once if it already has."""
    keeper = folder.keeper()
    if keeper is None:
        return
    try:
        handle = os.pidfd_open(keeper.pid)
    except ProcessLookupError:
        return
    try:
        if not folder.is_kept():
            return  # The pid may be another process's by now.
        await _readable(handle)
    finally:
        os.close(handle)


async def _readable(handle: int) -> None:
    loop = asyncio.get_running_loop()
    readable: asyncio.Future[None] = loop.create_future()
    loop.add_reader(handle, _settle, readable)
    try:
        await readable
    finally:
        loop.remove_reader(handle)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def server_of(folder: ReplicaFolder) -> psutil.Process | None:
    """The model server itself, inside its sandbox if it has one."""
    keeper = folder.keeper()
    if keeper is None or not folder.is_kept():
        return None
    try:
        process = psutil.Process(keeper.server)
        while process.name() == "bwrap":
            process = process.children()[0]
    except (psutil.NoSuchProcess, IndexError):
        return None
    return process


def terminate(folder: ReplicaFolder) -> None:
    """Asks the server to finish what runs and end. Its keeper and its sandbox are left to see that."""
    if (server := server_of(folder)) is not None:
        with suppress(psutil.NoSuchProcess):  # It was quicker.
            server.send_signal(signal.SIGTERM)


def kill(folder: ReplicaFolder, record: Record) -> None:
    """Ends all of its processes but the keeper, which records how and ends by itself."""
    keeper = folder.keeper()
    spared = keeper.pid if keeper is not None and folder.is_kept() else None
    ours = {*marked(record.marker)} | members([Path(group) for group in record.cgroups])
    for pid in ours - {spared}:
        with suppress(ProcessLookupError):  # It was quicker.
            os.kill(pid, signal.SIGKILL)


def marked(marker: str) -> Iterator[int]:
    """Every process that carries the marker, whatever session or sandbox it went to."""
    wanted = f"{MARKER_VARIABLE}={marker}".encode()
    for pid in psutil.pids():
        try:
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue  # Ended meanwhile, or another user's.
        if wanted in variables:
            yield pid
